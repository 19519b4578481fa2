import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.grpc.StatusRuntimeException;
import java.util.List;
import recsys.client.RecsysClient;
import recsys.client.RecsysError;
import recsys.v1.IngestResult;
import recsys.v1.InteractionEvent;
import recsys.v1.Item;
import recsys.v1.ItemUpdate;
import recsys.v1.MergeUsersRequest;
import recsys.v1.RecommendRequest;
import recsys.v1.RecommendedItem;
import recsys.v1.SimilarItemsRequest;
import recsys.v1.UpdateItemsRequest;

/** What a shop asks of recsys: java Shop.java [USER]. */
final class Shop {
  private final RecsysClient recsys;
  private final String user;

  private Shop(RecsysClient recsys, String user) {
    this.recsys = recsys;
    this.user = user;
  }

  public static void main(String[] arguments) throws Exception {
    try (RecsysClient recsys = RecsysClient.open()) {
      Shop shop = new Shop(recsys, arguments.length > 0 ? arguments[0] : "ada");
      shop.sendEvents();
      shop.readList();
      shop.productPage();
      shop.basket();
      shop.visitorSession();
      shop.logIn();
      shop.changePrice();
      shop.experiment();
      shop.invalidRequest();
    }
  }

  private static InteractionEvent.Builder event(String user, String type, String item, String id) {
    return InteractionEvent.newBuilder()
        .setUserId(user)
        .setEventType(type)
        .setContentId(item)
        .setEventId(id);
  }

  /** Sends events. Their ids are the shop's own, so that sending them again is safe. */
  private void sendEvents() {
    List<InteractionEvent> events =
        List.of(
            event(user, "purchase", "2004", "order-1").build(),
            event(user, "add_to_cart", "2036", "cart-1").build(),
            event(user, "purchase", "2004", "order-1").build(),
            event(user, "page_view", "2014", "view-1").setDwellSeconds(-1).build());
    List<IngestResult> results = recsys.ingest(events);
    System.out.println("events");
    for (int i = 0; i < results.size(); i++) {
      String outcome = results.get(i).getOutcome().name().replace("INGEST_OUTCOME_", "");
      System.out.println("  " + events.get(i).getEventId() + " " + outcome);
      for (var broken : results.get(i).getError().getViolationsList()) {
        System.out.println("    " + broken.getField() + ": " + broken.getDescription());
      }
    }
  }

  private static RecommendRequest.Builder list() {
    return RecommendRequest.newBuilder().setLimit(3).setSeed(7).setIncludeContent(true);
  }

  /** The home page of a user who is known. */
  private void readList() {
    var request = list().setUserId(user).build();
    show("for the user", recsys.recommender().recommend(request).getItemsList());
  }

  /** What resembles the item of this page. */
  private void productPage() {
    var request =
        SimilarItemsRequest.newBuilder()
            .setContentId("2004")
            .setUserId(user)
            .setLimit(3)
            .setSeed(7)
            .setIncludeContent(true)
            .build();
    show("like 2004", recsys.recommender().similarItems(request).getItemsList());
  }

  /** What goes with the items in the user's basket. */
  private void basket() {
    var request = list().setUserId(user).addAllContextIds(List.of("2036", "2043")).build();
    show("with the basket", recsys.recommender().recommend(request).getItemsList());
  }

  /** A list for somebody without an id, from the items of this session. */
  private void visitorSession() {
    var request = list().addAllContextIds(List.of("2011", "2043")).build();
    show("for a visitor", recsys.recommender().recommend(request).getItemsList());
  }

  /** Moves what a visitor did to the account. */
  private void logIn() {
    String visitor = user + "-visitor";
    recsys.ingest(List.of(event(visitor, "page_view", "2020", "visit-1").build()));
    var request = MergeUsersRequest.newBuilder().setFromUserId(visitor).setIntoUserId(user).build();
    int moved = recsys.recommender().mergeUsers(request).getMovedEvents();
    System.out.println("login: " + moved + " event moved");
  }

  /** A new price; the item's other fields stay. */
  private void changePrice() {
    var attributes = Struct.newBuilder().putFields("price", Value.newBuilder().setNumberValue(89.5).build());
    var item = Item.newBuilder().setContentId("2004").setAttributes(attributes);
    var request =
        UpdateItemsRequest.newBuilder().addUpdates(ItemUpdate.newBuilder().setItem(item)).build();
    var result = recsys.catalog().updateItems(request).getResults(0);
    String outcome = result.getOutcome().name().replace("ITEM_OUTCOME_", "");
    System.out.println("price of 2004: " + outcome);
  }

  /** Reports what was shown and bought from a list, for its variant's result. */
  private void experiment() {
    var request =
        RecommendRequest.newBuilder().setUserId(user).setPlacement("home").setLimit(3).build();
    var shown = recsys.recommender().recommend(request);
    var diagnostics = shown.getDiagnostics();
    System.out.println(
        "experiment " + diagnostics.getExperiment() + ": variant " + diagnostics.getVariant());
    var bought =
        event(user, "purchase", shown.getItems(0).getContentId(), "order-2")
            .setRequestId(shown.getRequestId());
    shown.getItemsList().forEach(item -> bought.addImpressions(item.getContentId()));
    IngestResult result = recsys.ingest(List.of(bought.build())).get(0);
    String meaning = result.getMeaning().name().replace("EVENT_MEANING_", "");
    System.out.println("  bought the first: " + meaning);
  }

  /** What an error says. */
  private void invalidRequest() {
    var request =
        RecommendRequest.newBuilder().setUserId(user).setLimit(1000).setRadiusMeters(-1).build();
    try {
      recsys.recommender().recommend(request);
    } catch (StatusRuntimeException e) {
      RecsysError error = RecsysError.of(e);
      System.out.println("error " + error.code() + " " + error.reason());
      error
          .violations()
          .forEach(rule -> System.out.println("  " + rule.field() + ": " + rule.description()));
    }
  }

  private static void show(String title, List<RecommendedItem> items) {
    System.out.println(title);
    for (RecommendedItem item : items) {
      System.out.println(
          "  " + item.getRank() + ". " + item.getContentId() + " " + item.getContent().getTitle());
    }
  }
}
