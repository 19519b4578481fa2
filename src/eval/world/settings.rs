//! Settings of a simulated world.

/// Weight of each cause of a choice; only the proportions count. A cause that does
/// not apply, such as a complement before the first choice, leaves its part to the
/// others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Causes {
    /// An item of a theme that the user is interested in.
    pub interest: f64,
    /// A complement of the item that the user chose last.
    pub co_purchase: f64,
    /// A popular item.
    pub popularity: f64,
    /// An item that the front page shows.
    pub front_page: f64,
}

/// Settings of a simulated world.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldSettings {
    /// Seeds everything.
    pub seed: u64,
    /// How many users there are.
    pub users: usize,
    /// How many items there are.
    pub items: usize,
    /// Length of the log.
    pub days: u32,
    /// Mean number of a user's visits.
    pub visits: f64,
    /// Mean number of items that a user chooses in a visit.
    pub items_per_visit: f64,
    /// What makes users choose.
    pub causes: Causes,
    /// How many themes items have.
    pub themes: usize,
    /// How many complements an item has.
    pub complements: usize,
    /// Exponent of Zipf's law of items' popularity; 0 makes all equal.
    pub popularity_skew: f64,
    /// Share of the items that are launched within the log; their
    /// popularity is highest then.
    pub launched: f64,
    /// Probability that a user's main interest is another one at a visit.
    pub drift: f64,
    /// How fast attention falls with the place on the front page: 1 / place to
    /// this power.
    pub position_bias: f64,
    /// Share of the items whose theme tag is that of their theme; others carry
    /// any theme.
    pub tag_accuracy: f64,
    /// Numbers in items' vectors; 0 for none.
    pub vector_size: usize,
    /// How much of an item's vector is its theme's, 0 to 1; the rest is noise.
    pub vector_signal: f64,
    /// Whether views say how long they lasted.
    pub dwell: bool,
    /// Probability that a chosen item is put into the cart, and that what is in
    /// the cart is bought.
    pub carts: f64,
    /// Share of the events that are delivered twice.
    pub duplicates: f64,
    /// Share of the events that are delivered late, out of order.
    pub late: f64,
    /// Share of the users who are anonymous visitors at first.
    pub anonymous: f64,
    /// Items in the best possible list that is stored for each choice; 0 stores
    /// none. It takes time in proportion to events times items.
    pub best_list: usize,
}

impl WorldSettings {
    /// A small shop: some seconds to replay.
    #[must_use]
    pub fn shop(seed: u64) -> Self {
        Self {
            seed,
            users: 300,
            items: 200,
            days: 60,
            visits: 6.0,
            items_per_visit: 3.0,
            causes: Causes {
                interest: 0.35,
                co_purchase: 0.25,
                popularity: 0.25,
                front_page: 0.15,
            },
            themes: 12,
            complements: 3,
            popularity_skew: 0.9,
            launched: 0.3,
            drift: 0.1,
            position_bias: 1.0,
            tag_accuracy: 0.9,
            vector_size: 16,
            vector_signal: 0.6,
            dwell: true,
            carts: 0.3,
            duplicates: 0.02,
            late: 0.05,
            anonymous: 0.2,
            best_list: 0,
        }
    }

    /// A shop in which a hit is due to trends and weak co-purchase: popularity is
    /// hard to beat.
    #[must_use]
    pub fn trends(seed: u64) -> Self {
        Self {
            causes: Causes {
                interest: 0.1,
                co_purchase: 0.15,
                popularity: 0.6,
                front_page: 0.15,
            },
            launched: 0.6,
            ..Self::shop(seed)
        }
    }

    /// A world in which only interests count, and only tags carry information on them.
    #[must_use]
    pub fn tags_only(seed: u64) -> Self {
        Self {
            causes: Causes {
                interest: 1.0,
                co_purchase: 0.0,
                popularity: 0.0,
                front_page: 0.0,
            },
            popularity_skew: 0.0,
            launched: 0.0,
            drift: 0.0,
            tag_accuracy: 1.0,
            vector_signal: 0.0,
            carts: 0.0,
            duplicates: 0.0,
            late: 0.0,
            anonymous: 0.0,
            ..Self::shop(seed)
        }
    }

    /// A large shop, for benchmarks: about 10,000 items and a million events.
    #[must_use]
    pub fn large(seed: u64) -> Self {
        Self {
            users: 50_000,
            items: 10_000,
            days: 90,
            themes: 60,
            ..Self::shop(seed)
        }
    }
}
