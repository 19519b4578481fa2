// What a shop asks of recsys: go run ./examples/shop [USER]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	recsys "github.com/recsys/recsys/clients/go"
	pb "github.com/recsys/recsys/clients/go/recsysv1"
)

func main() {
	log.SetFlags(0)
	client, err := recsys.NewClient(recsys.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	s := shop{client, "ada"}
	if len(os.Args) > 1 {
		s.user = os.Args[1]
	}
	for _, step := range []func(context.Context) error{
		s.sendEvents, s.readList, s.productPage, s.basket, s.visitorSession, s.logIn, s.changePrice,
		s.experiment, s.invalidRequest,
	} {
		if err := step(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}

type shop struct {
	*recsys.Client
	user string
}

// sendEvents sends events. Their ids are the shop's own, so that sending them again is safe.
func (s shop) sendEvents(ctx context.Context) error {
	events := []*pb.InteractionEvent{
		{UserId: s.user, EventType: "purchase", ContentId: "2004", EventId: "order-1"},
		{UserId: s.user, EventType: "add_to_cart", ContentId: "2036", EventId: "cart-1"},
		{UserId: s.user, EventType: "purchase", ContentId: "2004", EventId: "order-1"},
		{UserId: s.user, EventType: "page_view", ContentId: "2014", EventId: "view-1",
			DwellSeconds: proto.Float64(-1)},
	}
	results, err := s.Ingest(ctx, events...)
	if err != nil {
		return err
	}
	fmt.Println("events")
	for i, result := range results {
		outcome := strings.TrimPrefix(result.Outcome.String(), "INGEST_OUTCOME_")
		fmt.Println(" ", events[i].EventId, outcome)
		for _, violation := range result.GetError().GetViolations() {
			fmt.Printf("    %s: %s\n", violation.Field, violation.Description)
		}
	}
	return nil
}

// readList is for the home page of a user who is known.
func (s shop) readList(ctx context.Context) error {
	list, err := s.Recommend(ctx, &pb.RecommendRequest{
		UserId: s.user, Limit: 3, Seed: proto.Uint32(7), IncludeContent: true,
	})
	return show("for the user", list.GetItems(), err)
}

// productPage lists what resembles the item of a page.
func (s shop) productPage(ctx context.Context) error {
	list, err := s.SimilarItems(ctx, &pb.SimilarItemsRequest{
		ContentId: "2004", UserId: s.user, Limit: 3, Seed: proto.Uint32(7), IncludeContent: true,
	})
	return show("like 2004", list.GetItems(), err)
}

// basket lists what goes with the items in the user's basket.
func (s shop) basket(ctx context.Context) error {
	list, err := s.Recommend(ctx, &pb.RecommendRequest{
		UserId: s.user, ContextIds: []string{"2036", "2043"}, Limit: 3, Seed: proto.Uint32(7),
		IncludeContent: true,
	})
	return show("with the basket", list.GetItems(), err)
}

// visitorSession makes a list for somebody without an id, from the items of this session.
func (s shop) visitorSession(ctx context.Context) error {
	list, err := s.Recommend(ctx, &pb.RecommendRequest{
		ContextIds: []string{"2011", "2043"}, Limit: 3, Seed: proto.Uint32(7), IncludeContent: true,
	})
	return show("for a visitor", list.GetItems(), err)
}

// logIn moves what a visitor did to the account.
func (s shop) logIn(ctx context.Context) error {
	visitor := s.user + "-visitor"
	_, err := s.Ingest(ctx, &pb.InteractionEvent{
		UserId: visitor, EventType: "page_view", ContentId: "2020", EventId: "visit-1",
	})
	if err != nil {
		return err
	}
	merged, err := s.MergeUsers(ctx, &pb.MergeUsersRequest{FromUserId: visitor, IntoUserId: s.user})
	if err != nil {
		return err
	}
	fmt.Printf("login: %d event moved\n", merged.MovedEvents)
	return nil
}

// changePrice stores a new price; the item's other fields stay.
func (s shop) changePrice(ctx context.Context) error {
	attributes, err := structpb.NewStruct(map[string]any{"price": 89.5})
	if err != nil {
		return err
	}
	reply, err := s.UpdateItems(ctx, &pb.UpdateItemsRequest{Updates: []*pb.ItemUpdate{
		{Item: &pb.Item{ContentId: "2004", Attributes: attributes}},
	}})
	if err != nil {
		return err
	}
	outcome := strings.TrimPrefix(reply.Results[0].Outcome.String(), "ITEM_OUTCOME_")
	fmt.Println("price of 2004:", outcome)
	return nil
}

// experiment reports what was shown and bought from a list, for its variant's result.
func (s shop) experiment(ctx context.Context) error {
	list, err := s.Recommend(ctx, &pb.RecommendRequest{UserId: s.user, Placement: "home", Limit: 3})
	if err != nil {
		return err
	}
	fmt.Printf("experiment %s: variant %s\n", list.Diagnostics.Experiment, list.Diagnostics.Variant)
	event := &pb.InteractionEvent{
		UserId: s.user, EventType: "purchase", EventId: "order-2", RequestId: list.RequestId,
		ContentId: list.Items[0].ContentId,
	}
	for _, item := range list.Items {
		event.Impressions = append(event.Impressions, item.ContentId)
	}
	results, err := s.Ingest(ctx, event)
	if err != nil {
		return err
	}
	meaning := strings.TrimPrefix(results[0].Meaning.String(), "EVENT_MEANING_")
	fmt.Println("  bought the first:", meaning)
	return nil
}

// invalidRequest shows what an error says.
func (s shop) invalidRequest(ctx context.Context) error {
	_, err := s.Recommend(ctx, &pb.RecommendRequest{
		UserId: s.user, Limit: 1000, RadiusMeters: proto.Float64(-1),
	})
	var failed *recsys.Error
	if !errors.As(err, &failed) {
		return fmt.Errorf("an invalid request ended with %v", err)
	}
	fmt.Println("error", code.Code(failed.Code), failed.Reason)
	for _, violation := range failed.Violations {
		fmt.Printf("  %s: %s\n", violation.Field, violation.Description)
	}
	return nil
}

func show(title string, items []*pb.RecommendedItem, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(title)
	for _, item := range items {
		fmt.Printf("  %d. %s %s\n", item.Rank, item.ContentId, item.Content.GetTitle())
	}
	return nil
}
