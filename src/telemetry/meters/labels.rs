//! The values of labels.

/// Largest number of series of one metric.
pub(super) const MOST_VALUES: usize = 8;

/// The labels of one metric.
pub(super) trait Labels: Copy + 'static {
    /// All combinations of values.
    fn all() -> Vec<Self>;
    /// A unique number below [`MOST_VALUES`].
    fn index(self) -> usize;
    /// The names of the labels with their values.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

/// A metric without labels.
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
    /// How a change of a mirrored item was noticed.
    MirrorChange "source" {
        /// This process wrote the item.
        Own "own"
        /// Another process announced it.
        Announced "announced"
        /// The mirror was compared with Qdrant.
        Compared "compared"
    }
}

label! {
    /// The outcome of an event.
    EventOutcome "outcome" {
        /// Stored.
        Accepted "accepted"
        /// Stored before.
        Duplicate "duplicate"
        /// Older than the window.
        OutsideWindow "outside_window"
        /// Not stored: it says nothing.
        NotStored "not_stored"
        /// Refused: it breaks a rule.
        Invalid "invalid"
        /// The store failed, and the event may not be stored.
        Failed "failed"
    }
}

label! {
    /// The outcome of an event of a merged user.
    MergedEvent "outcome" {
        /// Added to the other user.
        Moved "moved"
        /// The other user had it.
        Duplicate "duplicate"
    }
}

label! {
    /// A stored value that cannot be decoded.
    Unreadable "kind" {
        /// A member of an event buffer.
        Event "event"
        /// A user model.
        Model "model"
        /// An audience, an interest list or a neighbour row.
        Association "association"
    }
}

label! {
    /// Why a read found no usable model.
    Rebuild "reason" {
        /// There is none.
        Missing "missing"
        /// There are newer events, the buffer was lost, or it was built without its
        /// items.
        Behind "behind"
        /// It is too old, or was built with another ranking file or vector size.
        Old "old"
        /// It cannot be decoded.
        Unreadable "unreadable"
    }
}

label! {
    /// The outcome of building a model.
    ModelBuild "outcome" {
        /// It is stored.
        Saved "saved"
        /// A newer one is stored, or the user was erased.
        Superseded "superseded"
        /// The store failed; the next read builds it again.
        NotSaved "not_saved"
        /// It could not be built: events or items could not be read.
        Failed "failed"
    }
}

label! {
    /// Whether the catalogue has an item of a model.
    ModelItem "catalog" {
        /// It has.
        Known "known"
        /// It has not: the item adds neither tags nor a vector.
        Unknown "unknown"
    }
}

label! {
    /// How an append was refreshed.
    Refresh "how" {
        /// It started a refresh.
        Own "own"
        /// It joined a refresh of the same user.
        Shared "shared"
    }
}

label! {
    /// The strategy of a list.
    List "strategy" {
        /// Ranked by the user's model.
        Warm "warm"
        /// The model is cold, or the list is a random sample.
        Cold "cold"
        /// Seen items: no unseen item matches the request.
        SeenFallback "seen_fallback"
        /// Items similar to one.
        Similar "similar"
        /// Popular items.
        Popular "popular"
    }
}

label! {
    /// The outcome of a list's exploration.
    Exploration "outcome" {
        /// The list has an exploration item.
        Placed "placed"
        /// There was no candidate.
        NoneLeft "none_left"
        /// The draw was for no exploration.
        NotDrawn "not_drawn"
        /// Exploration is disabled, or the list is too short.
        Off "off"
    }
}

label! {
    /// The outcome of refreshing a neighbour row.
    RowRefresh "outcome" {
        /// It is stored.
        Built "built"
        /// Another process has refreshed it since it changed.
        Current "current"
        /// A newer one is stored.
        Superseded "superseded"
        /// The store failed; the row stays due.
        Failed "failed"
    }
}

label! {
    /// The exhausted resource of an overload.
    Shed "reason" {
        /// Calls in flight.
        Calls "calls"
        /// Bytes of messages.
        Bytes "bytes"
    }
}

label! {
    /// Why a caller was refused.
    Refused "reason" {
        /// No key, or an unknown one.
        Key "key"
        /// Its key lacks the role.
        Role "role"
        /// The key belongs to another tenant.
        Tenant "tenant"
        /// The key's quota is exhausted.
        Quota "quota"
    }
}

label! {
    /// Why this process closed or refused a connection.
    ConnectionEnd "reason" {
        /// It reached its maximum age.
        Age "age"
        /// There were too many connections.
        Full "full"
        /// Its client sent nothing.
        Silent "silent"
        /// Its client did not read a reply.
        Slow "slow"
        /// The TLS handshake failed: a wrong certificate, or none.
        Tls "tls"
    }
}

label! {
    /// A cache of this process.
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
    /// The outcome of a lookup.
    Lookup "outcome" {
        /// A usable entry.
        Hit "hit"
        /// No entry, or an unusable one.
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
    /// The outcome of an element of a delivery.
    WebhookOutcome "outcome" {
        /// An event, which counts in [`EVENTS`](crate::telemetry::meters::EVENTS), too.
        Mapped "mapped"
        /// It says nothing that a list could use.
        NoItem "no_item"
        /// It names no user.
        NoUser "no_user"
        /// It would merge users, and may not.
        MergeRefused "merge_refused"
        /// It is another call than track, identify or alias.
        OtherType "other_type"
        /// Its shape is unknown.
        Unreadable "unreadable"
    }
}
