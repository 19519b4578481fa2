// A client of recsys: sends a user's events, reads the user's model, gets a
// list with reasons, and shows the error of an invalid request.
//
// README.md describes how to run it; docs/guides/clients.md explains the connection settings.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "recsys-client/gen/recsys/v1"
)

const seed = 7

func setting(name, preset, meaning string) *string {
	variable := "RECSYS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if given := os.Getenv(variable); given != "" {
		preset = given
	}
	return flag.String(name, preset, meaning+" (or "+variable+")")
}

func main() {
	log.SetFlags(0)
	addresses := setting("addresses", "127.0.0.1:50051", "host:port, or several IPv4 addresses separated by commas")
	caFile := setting("ca-file", "", "CA bundle for the server's certificate (PEM); enables TLS")
	serverName := setting("server-name", "", "name in the server's certificate, if not the host name")
	user := setting("user", "ada", "id of the user to send events for")
	placement := setting("placement", "", "where the lists are shown: a name of the server's ranking file")
	timeout := flag.Duration("timeout", 10*time.Second, "deadline of each call, including retries")
	lists := flag.Int("lists", 5, "how often to repeat the request for a list")
	flag.Parse()

	channel, err := connect(*addresses, *caFile, *serverName, os.Getenv("RECSYS_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()
	recsys := client{pb.NewRecommenderServiceClient(channel), *user, *placement, *timeout}
	if err := recsys.play(*lists); err != nil {
		log.Fatal(err)
	}
}

// client makes calls for one user, each with a deadline.
type client struct {
	stub      pb.RecommenderServiceClient
	user      string
	placement string
	timeout   time.Duration
}

func (c client) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.timeout)
}

func (c client) play(lists int) error {
	if err := c.ingestABatch(); err != nil {
		return err
	}
	if err := c.readSignals(); err != nil {
		return err
	}
	reply, err := c.getLists(lists)
	if err != nil {
		return err
	}
	if err := c.openTheFirst(reply); err != nil {
		return err
	}
	if err := c.logIn(); err != nil {
		return err
	}
	return c.askBadly()
}

func minutesAgo(minutes int) *timestamppb.Timestamp {
	return timestamppb.New(time.Now().Add(-time.Duration(minutes) * time.Minute))
}

// view returns a finished view. Its event id makes it safe to send twice.
func (c client) view(name, item string, minutes int, dwellSeconds float64, end pb.EndReason) *pb.InteractionEvent {
	return &pb.InteractionEvent{
		UserId:       c.user,
		EventType:    "CONTENT_VIEW_ENDED",
		EventId:      name,
		EventTime:    minutesAgo(minutes),
		ContentId:    item,
		DwellSeconds: proto.Float64(dwellSeconds),
		EndReason:    end,
	}
}

func (c client) ingestABatch() error {
	first := c.view("view-1", "2004", 50, 45, pb.EndReason_END_REASON_NEXT_BUTTON)
	events := []*pb.InteractionEvent{
		first,
		c.view("view-2", "2036", 40, 150, pb.EndReason_END_REASON_NEXT_BUTTON),
		c.view("view-3", "2014", 30, 3, pb.EndReason_END_REASON_ABANDON),
		first,
		c.view("view-4", "2099", 20, -1, pb.EndReason_END_REASON_LINK),
	}
	ctx, cancel := c.deadline()
	defer cancel()
	reply, err := c.stub.BatchIngestEvents(ctx, &pb.BatchIngestEventsRequest{Events: events})
	if err != nil {
		return err
	}
	fmt.Println("events sent in a batch")
	for i, result := range reply.Results {
		fmt.Printf("  %s %s\n", events[i].EventId, short(result.Outcome, "INGEST_OUTCOME_"))
		if result.Error == nil {
			continue
		}
		fmt.Printf("    %s %s\n", code.Code(result.Error.Code), result.Error.Reason)
		for _, violation := range result.Error.Violations {
			fmt.Printf("    %s: %s\n", violation.Field, violation.Description)
		}
	}
	return nil
}

func (c client) readSignals() error {
	ctx, cancel := c.deadline()
	defer cancel()
	reply, err := c.stub.GetUserSignals(ctx, &pb.GetUserSignalsRequest{UserId: c.user})
	if err != nil {
		return err
	}
	signals := reply.Signals
	fmt.Printf("model %s of %d events\n", short(reply.Source, "SIGNALS_SOURCE_"), signals.EventCount)
	fmt.Println("  liked", strings.Join(slices.Sorted(maps.Keys(signals.Positives)), " "))
	fmt.Println("  disliked", strings.Join(slices.Sorted(maps.Keys(signals.Negatives)), " "))
	affinity := signals.TagAffinity
	strongest := slices.SortedFunc(maps.Keys(affinity), func(a, b string) int {
		return cmp.Or(cmp.Compare(affinity[b], affinity[a]), cmp.Compare(a, b))
	})
	for _, tag := range strongest[:min(3, len(strongest))] {
		fmt.Printf("  %.2f %s\n", affinity[tag], tag)
	}
	return nil
}

func (c client) recommend(request *pb.RecommendRequest) (*pb.RecommendResponse, error) {
	ctx, cancel := c.deadline()
	defer cancel()
	return c.stub.Recommend(ctx, request)
}

func (c client) getLists(howMany int) (*pb.RecommendResponse, error) {
	request := &pb.RecommendRequest{
		UserId: c.user, Placement: c.placement, Limit: 5, Seed: proto.Uint32(seed),
	}
	reply, err := c.recommend(request)
	if err != nil {
		return nil, err
	}
	fmt.Println("list", short(reply.Strategy, "RECOMMEND_STRATEGY_"))
	for _, item := range reply.Items {
		like := ""
		if item.SimilarTo != "" {
			like = " like " + item.SimilarTo
		}
		role := short(item.Role, "ITEM_ROLE_")
		fmt.Printf("  %d. %s %.2f %s%s\n", item.Rank, item.ContentId, item.Score, role, like)
	}

	result := "the same"
	for range howMany {
		again, err := c.recommend(request)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(ids(again), ids(reply)) {
			result = "DIFFERENT"
		}
	}
	fmt.Printf("%d more with the same seed: %s\n", howMany, result)
	return reply, nil
}

// openTheFirst sends an event that follows from the list, with the list's id and all
// displayed items.
func (c client) openTheFirst(list *pb.RecommendResponse) error {
	ctx, cancel := c.deadline()
	defer cancel()
	reply, err := c.stub.IngestEvent(ctx, &pb.IngestEventRequest{Event: &pb.InteractionEvent{
		UserId:      c.user,
		EventType:   "CONTENT_VIEW_STARTED",
		EventId:     "open-1",
		EventTime:   minutesAgo(1),
		RequestId:   list.RequestId,
		ContentId:   list.Items[0].ContentId,
		Impressions: ids(list),
	}})
	if err != nil {
		return err
	}
	outcome := short(reply.Outcome, "INGEST_OUTCOME_")
	fmt.Printf("opened the first: %s, %d events kept\n", outcome, reply.BufferedEvents)
	return nil
}

// logIn moves what the user did before, as a visitor without an account, to the account.
func (c client) logIn() error {
	ctx, cancel := c.deadline()
	defer cancel()
	visit := c.view("visit-1", "2020", 60, 45, pb.EndReason_END_REASON_NEXT_BUTTON)
	visit.UserId = c.user + "-visitor"
	if _, err := c.stub.IngestEvent(ctx, &pb.IngestEventRequest{Event: visit}); err != nil {
		return err
	}
	reply, err := c.stub.MergeUsers(ctx, &pb.MergeUsersRequest{
		FromUserId: visit.UserId,
		IntoUserId: c.user,
	})
	if err != nil {
		return err
	}
	fmt.Printf("the visitor logged in: %d event moved\n", reply.MovedEvents)
	return nil
}

func (c client) askBadly() error {
	_, err := c.recommend(&pb.RecommendRequest{
		UserId:       c.user,
		Limit:        1000,
		Near:         &pb.GeoPoint{Latitude: 91},
		RadiusMeters: proto.Float64(-1),
	})
	refused, ok := status.FromError(err)
	if err == nil || !ok {
		return fmt.Errorf("a bad request ended with %v", err)
	}
	fmt.Println("a bad request:", code.Code(refused.Code()))
	for _, detail := range refused.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Printf("  %s of %s\n", detail.Reason, detail.Domain)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fmt.Printf("  %s: %s\n", violation.Field, violation.Description)
			}
		}
	}
	return nil
}

func ids(list *pb.RecommendResponse) []string {
	var ids []string
	for _, item := range list.Items {
		ids = append(ids, item.ContentId)
	}
	return ids
}

// short returns an enum value's name without the prefix.
func short(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}
