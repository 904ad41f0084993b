//! The stable codes of problems: the first column of the tables in `spec/topology.md`, "What makes a document valid".

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant),+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As users, scripts and the API see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// A key that the schema does not have.
    UnknownKey = "unknown-key",
    /// A key or a name that stands twice.
    DuplicateKey = "duplicate-key",
    /// A value of another shape than the schema's, a missing key, or no YAML at all.
    WrongType = "wrong-type",
    /// Names something that is not declared.
    UnknownReference = "unknown-reference",
    /// Nodes reach themselves.
    Cycle = "cycle",
    /// More than three nodes in a chain.
    DepthExceeded = "depth-exceeded",
    /// Two wildcard rules whose targets overlap.
    OverlappingWildcards = "overlapping-wildcards",
    /// Two fixed rules with one target.
    DuplicateTarget = "duplicate-target",
    /// Only one of source and target ends in `*`.
    WildcardMismatch = "wildcard-mismatch",
    /// A tag or digest where a repository belongs.
    TagInSource = "tag-in-source",
    /// Both ways to authenticate.
    IdentityAndCredentials = "identity-and-credentials",
    /// The identity is not on the rule's node.
    IdentityNotAttached = "identity-not-attached",
    /// An anonymous rule towards a node.
    UpstreamNeedsAuthentication = "upstream-needs-authentication",
    /// An identity of a kind that this upstream does not understand.
    IdentityKindMismatch = "identity-kind-mismatch",
    /// Outside the identity's `sources`.
    IdentityNotForSource = "identity-not-for-source",
    /// An identity over plain http.
    PlaintextIdentity = "plaintext-identity",
    /// A credential set of another host.
    LoginServerMismatch = "login-server-mismatch",
    /// The identity may not read the source.
    NoReadAccess = "no-read-access",
    /// The source node's network turns the rule's node away.
    NetworkExcludesPeer = "network-excludes-peer",
    /// `parent://` without a parent.
    NoParent = "no-parent",
    /// A secret by value.
    LiteralSecret = "literal-secret",
    /// Two nodes with one endpoint.
    DuplicateEndpoint = "duplicate-endpoint",
    /// Not a name.
    InvalidName = "invalid-name",
    /// Not a repository pattern, source, target or glob.
    InvalidPattern = "invalid-pattern",
    /// Not a duration.
    InvalidDuration = "invalid-duration",
    /// Not a size.
    InvalidSize = "invalid-size",
    /// Not a network.
    InvalidCidr = "invalid-cidr",
    /// Not a URL or address.
    InvalidUrl = "invalid-url",
    /// Not a platform.
    InvalidPlatform = "invalid-platform",
    /// Warning: Docker Hub without an account.
    DockerHubAnonymous = "docker-hub-anonymous",
    /// Warning: a fixed rule inside a wildcard.
    ShadowedRule = "shadowed-rule",
    /// Warning: no rule uses it.
    UnusedIdentity = "unused-identity",
    /// Warning: no rule uses it.
    UnusedCredentials = "unused-credentials",
    /// Warning: http beyond loopback.
    PlaintextEndpoint = "plaintext-endpoint",
    /// Warning: anybody may write.
    AnonymousWrite = "anonymous-write",
}
