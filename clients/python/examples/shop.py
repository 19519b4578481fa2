"""What a shop asks of recsys: python shop.py [USER]"""

import sys

from recsys_client import Client, RecsysError, pb


def send_events(recsys, user):
    """Sends events. Their ids are the shop's own, so that sending them again is safe."""
    events = [
        pb.InteractionEvent(user_id=user, event_type="purchase", content_id="2004",
                            event_id="order-1"),
        pb.InteractionEvent(user_id=user, event_type="add_to_cart", content_id="2036",
                            event_id="cart-1"),
        pb.InteractionEvent(user_id=user, event_type="purchase", content_id="2004",
                            event_id="order-1"),
        pb.InteractionEvent(user_id=user, event_type="page_view", content_id="2014",
                            event_id="view-1", dwell_seconds=-1),
    ]
    print("events")
    for event, result in zip(events, recsys.ingest(*events)):
        outcome = pb.IngestOutcome.Name(result.outcome).removeprefix("INGEST_OUTCOME_")
        print(f"  {event.event_id} {outcome}")
        for violation in result.error.violations:
            print(f"    {violation.field}: {violation.description}")


def read_list(recsys, user):
    """The home page of a user who is known."""
    show("for the user", recsys.Recommend(pb.RecommendRequest(
        user_id=user, limit=3, seed=7, include_content=True)))


def product_page(recsys, user):
    """What resembles the item of this page."""
    show("like 2004", recsys.SimilarItems(pb.SimilarItemsRequest(
        content_id="2004", user_id=user, limit=3, seed=7, include_content=True)))


def basket(recsys, user):
    """What goes with the items in the user's basket."""
    show("with the basket", recsys.Recommend(pb.RecommendRequest(
        user_id=user, context_ids=["2036", "2043"], limit=3, seed=7, include_content=True)))


def visitor_session(recsys):
    """A list for somebody without an id, from the items of this session."""
    show("for a visitor", recsys.Recommend(pb.RecommendRequest(
        context_ids=["2011", "2043"], limit=3, seed=7, include_content=True)))


def log_in(recsys, user):
    """Moves what a visitor did to the account."""
    visitor = f"{user}-visitor"
    recsys.ingest(pb.InteractionEvent(user_id=visitor, event_type="page_view",
                                      content_id="2020", event_id="visit-1"))
    merged = recsys.MergeUsers(pb.MergeUsersRequest(from_user_id=visitor, into_user_id=user))
    print(f"login: {merged.moved_events} event moved")


def change_price(recsys):
    """A new price; the item's other fields stay."""
    item = pb.Item(content_id="2004")
    item.attributes["price"] = 89.5
    reply = recsys.UpdateItems(pb.UpdateItemsRequest(updates=[pb.ItemUpdate(item=item)]))
    outcome = pb.ItemOutcome.Name(reply.results[0].outcome).removeprefix("ITEM_OUTCOME_")
    print(f"price of 2004: {outcome}")


def experiment(recsys, user):
    """Reports what was shown and bought from a list, for its variant's result."""
    shown = recsys.Recommend(pb.RecommendRequest(user_id=user, placement="home", limit=3))
    print(f"experiment {shown.diagnostics.experiment}: variant {shown.diagnostics.variant}")
    [result] = recsys.ingest(pb.InteractionEvent(
        user_id=user, event_type="purchase", event_id="order-2", request_id=shown.request_id,
        content_id=shown.items[0].content_id,
        impressions=[item.content_id for item in shown.items]))
    meaning = pb.EventMeaning.Name(result.meaning).removeprefix("EVENT_MEANING_")
    print(f"  bought the first: {meaning}")


def invalid_request(recsys, user):
    """What an error says."""
    try:
        recsys.Recommend(pb.RecommendRequest(user_id=user, limit=1000, radius_meters=-1))
    except RecsysError as error:
        print(f"error {error.code.name} {error.reason}")
        for field, description in error.violations:
            print(f"  {field}: {description}")


def show(title, shown):
    print(title)
    for item in shown.items:
        print(f"  {item.rank}. {item.content_id} {item.content.title}")


def main():
    user = sys.argv[1] if len(sys.argv) > 1 else "ada"
    with Client() as recsys:
        send_events(recsys, user)
        read_list(recsys, user)
        product_page(recsys, user)
        basket(recsys, user)
        visitor_session(recsys)
        log_in(recsys, user)
        change_price(recsys)
        experiment(recsys, user)
        invalid_request(recsys, user)


if __name__ == "__main__":
    main()
