//! The values of labels: few, and all known beforehand.

/// Most values of one metric's labels together.
pub(super) const MOST_VALUES: usize = 8;

/// What tells the series of one metric apart.
pub(super) trait Labels: Copy + 'static {
    /// All there are.
    fn all() -> Vec<Self>;
    /// A number of its own, below [`MOST_VALUES`].
    fn index(self) -> usize;
    /// Names of labels with their values.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

/// A metric of one series.
impl Labels for () {
    fn all() -> Vec<Self> {
        vec![()]
    }

    fn index(self) -> usize {
        0
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// The values of one label: `Type "name" { Value "value" }`.
macro_rules! label {
    (
        $(#[$about:meta])*
        $name:ident $label:literal {
            $($(#[$about_value:meta])* $value:ident $text:literal)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about_value])* $value,)*
        }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$value,)*];
            const FITS: () = assert!(Self::ALL.len() <= MOST_VALUES);

            pub(super) fn label(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl Labels for $name {
            fn all() -> Vec<Self> {
                let () = Self::FITS;
                Self::ALL.to_vec()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn pairs(self) -> Vec<(&'static str, &'static str)> {
                vec![($label, self.label())]
            }
        }
    };
}

label! {
    /// What became of an event.
    EventOutcome "outcome" {
        /// Stored.
        Accepted "accepted"
        /// Known already.
        Duplicate "duplicate"
        /// Too old.
        OutsideWindow "outside_window"
        /// Refused: it breaks a rule.
        Invalid "invalid"
        /// The store failed, and the event may not be stored.
        Failed "failed"
    }
}

label! {
    /// What could not be read.
    Unreadable "kind" {
        /// A member of an event buffer.
        Event "event"
        /// A user model.
        Model "model"
    }
}

label! {
    /// Why a read found no model that it could use.
    Rebuild "reason" {
        /// There was none.
        Missing "missing"
        /// Events came after it, the buffer was lost, or it lacked what its
        /// items tell.
        Behind "behind"
        /// It was built too long ago, or under another ranking file or vector
        /// size.
        Old "old"
        /// What was there is no model.
        Unreadable "unreadable"
    }
}

label! {
    /// What became of a model that was built.
    ModelBuild "outcome" {
        /// It is stored.
        Saved "saved"
        /// A newer one was there, or the user was erased.
        Superseded "superseded"
        /// The store failed; the next read builds it again.
        NotSaved "not_saved"
        /// It could not be built: the events or items were not to be had.
        Failed "failed"
    }
}

label! {
    /// How an append came to its refresh.
    Refresh "how" {
        /// It began one.
        Own "own"
        /// It joined one that others of its user had asked for.
        Shared "shared"
    }
}

label! {
    /// How a list was made.
    List "strategy" {
        /// By what the user liked.
        Warm "warm"
        /// The user has liked nothing, or the list is a random sample.
        Cold "cold"
        /// Of seen items, as nothing unseen matches the request.
        SeenFallback "seen_fallback"
    }
}

label! {
    /// What became of a list's exploration item.
    Exploration "outcome" {
        /// It is in the list.
        Placed "placed"
        /// There was no candidate for it.
        NoneLeft "none_left"
        /// This list was to have none.
        NotDrawn "not_drawn"
        /// Lists have none, or this one was too short.
        Off "off"
    }
}

label! {
    /// What there was too much of when a call was refused.
    Shed "reason" {
        /// Calls that are worked on.
        Calls "calls"
        /// Bytes of messages.
        Bytes "bytes"
    }
}

label! {
    /// Why a caller was not let in.
    Refused "reason" {
        /// No key, or none that is known.
        Key "key"
        /// Its key lacks the role.
        Role "role"
        /// It named another tenant.
        Tenant "tenant"
        /// Its key's quota was used up.
        Quota "quota"
    }
}

label! {
    /// Why this process ended or refused a connection.
    ConnectionEnd "reason" {
        /// It was old enough.
        Age "age"
        /// There were too many.
        Full "full"
        /// Its client never spoke.
        Silent "silent"
        /// Its client did not take in a reply.
        Slow "slow"
        /// Its client and this server found no TLS to speak: a wrong
        /// certificate, or none.
        Tls "tls"
    }
}

label! {
    /// What this process keeps copies of.
    Cache "cache" {
        /// Items of Qdrant.
        Items "items"
        /// Event buffers of Redis.
        Buffers "buffers"
        /// User models of Redis.
        Models "models"
    }
}

label! {
    /// Whether a copy was there.
    Lookup "outcome" {
        /// It was.
        Hit "hit"
        /// It was not, or was of no use.
        Miss "miss"
    }
}

impl Labels for (Cache, Lookup) {
    fn all() -> Vec<Self> {
        let with_each = |cache: Cache| Lookup::all().into_iter().map(move |lookup| (cache, lookup));
        Cache::all().into_iter().flat_map(with_each).collect()
    }

    fn index(self) -> usize {
        self.0.index() * Lookup::ALL.len() + self.1.index()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        [self.0.pairs(), self.1.pairs()].concat()
    }
}

label! {
    /// What an element of a delivery was.
    WebhookOutcome "outcome" {
        /// An event, which counts in [`EVENTS`](crate::telemetry::meters::EVENTS), too.
        Mapped "mapped"
        /// It names no user.
        NoUser "no_user"
        /// It is another call than track or identify.
        OtherType "other_type"
        /// It is of no known shape.
        Unreadable "unreadable"
    }
}
