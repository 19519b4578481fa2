from recsys_client import Client, pb

with Client() as recsys:                 # of 127.0.0.1:50051
    recsys.ingest(pb.InteractionEvent(user_id="bob", event_type="purchase", content_id="2001"))
    for item in recsys.Recommend(pb.RecommendRequest(user_id="bob", limit=3)).items:
        print(item.content_id, item.reason)
