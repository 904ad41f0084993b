//! `identities`: as whom rules call their upstreams, without a stored secret.

use super::{Selector, Text};
use crate::{
    place::At,
    read::section::{choice, section},
};

section! {
    /// An identity.
    Identity = "an identity" {
        /// `managed` (minted by the control plane), `azure` (a managed identity of the machine or pod) or `federated` (a foreign tenant or mesh trusts our issuer).
        kind: Option<At<Kind>> = "kind", required;
        /// Nodes whose rules may use it.
        on: Option<Selector> = "on";
        /// Patterns of sources that it may ever be presented for; default: any of its kind.
        sources: Vec<At<String>> = "sources";
        /// Client id: of the Azure identity, or at the foreign `tokenUrl`.
        client_id: Text = "clientId";
        /// Object id of the Azure identity.
        object_id: Text = "objectId";
        /// ARM resource id of the Azure identity.
        resource_id: Text = "resourceId";
        /// Scope of the token; default for `azure`: ACR's audience, and then only for ACR hosts.
        scope: Text = "scope";
        /// Audience of the federation token; default `api://AzureADTokenExchange`.
        audience: Text = "audience";
        /// The foreign token endpoint.
        token_url: Text = "tokenUrl";
        /// How it is asked; default: `client-assertion` with `tokenUrl`, `direct` without.
        flow: Option<At<Flow>> = "flow";
        /// What is shown to it: `mesh` (default: our own federation token) or the name of an `azure` identity.
        assertion: Text = "assertion";
        /// How the result is shown to the registry: `exchange` (default) or `password`.
        present: Option<At<Present>> = "present";
        /// User name that goes with `present: password`.
        username: Text = "username";
    }
}

choice! {
    /// The kinds of identity.
    Kind {
        /// Minted by the control plane, short-lived, for one rule at a time.
        Managed = "managed",
        /// An Azure managed identity.
        Azure = "azure",
        /// Trusted by a foreign tenant or mesh.
        Federated = "federated",
    }
}

choice! {
    /// How a foreign token endpoint is asked.
    Flow {
        /// Client credentials with a client assertion.
        ClientAssertion = "client-assertion",
        /// RFC 8693.
        TokenExchange = "token-exchange",
        /// No token service between.
        Direct = "direct",
    }
}

choice! {
    /// How a foreign token is shown to the registry.
    Present {
        /// In the exchange.
        Exchange = "exchange",
        /// As a password.
        Password = "password",
    }
}
