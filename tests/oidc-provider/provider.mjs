// A real OpenID provider for the tests: device flow for the public client `regmesh-cli`, client credentials for the robot `ci`.
// node provider.mjs PORT; says "listening ISSUER". People approve at POST /approve?user_code=…&login=…, which stands for their browser:
// everything that regmesh speaks is the library's own. /deny refuses the same way.
import http from "node:http";
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const jwk = (kid, alg, pair) => ({ ...pair.privateKey.export({ format: "jwk" }), kid, alg, use: "sig" });

const provider = new Provider(issuer, {
  jwks: {
    keys: [
      jwk("rs", "RS256", generateKeyPairSync("rsa", { modulusLength: 2048 })),
      jwk("es", "ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })),
    ],
  },
  cookies: { keys: ["of-the-tests"] },
  clients: [
    {
      client_id: "regmesh-cli",
      token_endpoint_auth_method: "none",
      application_type: "native",
      grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
      response_types: [],
      redirect_uris: [],
    },
    {
      client_id: "ci",
      client_secret: "canary-oidc-ci-5ecre7",
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
    },
  ],
  claims: { openid: ["sub"], email: ["email"], groups: ["groups"] },
  scopes: ["openid", "email", "groups", "offline_access"],
  conformIdTokenClaims: false,
  findAccount: async (_ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@example.test`, groups: ["developers"] }),
  }),
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: async (_ctx, resource) => ({
        scope: "pull",
        audience: resource.replace(/^[a-z]+:\/\//, ""),
        accessTokenTTL: 600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
      useGrantedResource: async () => true,
    },
  },
});
provider.on("server_error", (_ctx, error) => console.error(error));

// The other half of the device flow, done without a browser.
async function decide(query, approve) {
  const code = await provider.DeviceCode.findByUserCode(query.get("user_code").toUpperCase().replace(/\W/g, ""));
  if (!code) return 404;
  if (!approve) {
    Object.assign(code, { error: "access_denied", errorDescription: "the person refused" });
  } else {
    const accountId = query.get("login");
    const grant = new provider.Grant({ accountId, clientId: code.clientId });
    grant.addOIDCScope(code.params.scope ?? "openid");
    const grantId = await grant.save();
    const authTime = Math.floor(Date.now() / 1000);
    Object.assign(code, { accountId, grantId, authTime, scope: code.params.scope ?? "openid", sessionUid: "of-the-tests" });
  }
  await code.save();
  return 204;
}

const callback = provider.callback();
const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method !== "POST" || !["/approve", "/deny"].includes(url.pathname)) return callback(request, response);
  response.writeHead(await decide(url.searchParams, url.pathname === "/approve")).end();
});
server.listen(port, "127.0.0.1", () => console.log(`listening ${issuer}`));
