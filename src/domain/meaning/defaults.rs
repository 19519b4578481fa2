//! The event types of common shops, media and forums.

use super::rule::EventRule;

const fn plain(strength: f64) -> EventRule {
    EventRule {
        strength,
        weak: false,
        done: false,
    }
}

const DONE: EventRule = EventRule {
    strength: 1.0,
    weak: false,
    done: true,
};

const WEAK: EventRule = EventRule {
    strength: 0.3,
    weak: true,
    done: false,
};

/// The default table: rules with the normal forms of their types.
pub(super) const RULES: [(EventRule, &[&str]); 7] = [
    (
        DONE,
        &[
            "purchase",
            "order completed",
            "order placed",
            "purchase complete",
            "transaction",
            "buy",
            "checkout completed",
            "booking completed",
            "subscribe",
        ],
    ),
    (
        plain(0.8),
        &[
            "like",
            "favorite",
            "favourite",
            "add to wishlist",
            "product added to wishlist",
            "wishlist",
            "bookmark",
            "save",
            "share",
            "upvote",
            "thumbs up",
            "follow",
            "download",
        ],
    ),
    (
        plain(0.6),
        &[
            "add to cart",
            "product added",
            "add to basket",
            "begin checkout",
            "checkout started",
        ],
    ),
    (
        WEAK,
        &[
            "view",
            "product viewed",
            "view item",
            "detail page view",
            "page view",
            "click",
            "product clicked",
            "select item",
            "item click",
            "open",
            "play",
            "listen",
            "watch",
            "read",
        ],
    ),
    (
        plain(0.0),
        &["remove from cart", "product removed", "unlike", "unfollow"],
    ),
    (
        plain(-0.5),
        &["refund", "order refunded", "return", "product returned"],
    ),
    (
        plain(-1.0),
        &[
            "dislike",
            "downvote",
            "thumbs down",
            "not interested",
            "hide",
            "report",
        ],
    ),
];
