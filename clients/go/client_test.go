package recsys

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/recsys/recsys/clients/go/recsysv1"
)

const testKey = "shop_key"

// fake stores events by their ids; it can lose replies.
type fake struct {
	pb.UnimplementedRecommenderServiceServer
	mutex       sync.Mutex
	stored      map[string]bool
	sentIDs     []string
	lostReplies int
	remaining   time.Duration
}

func refuse(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	refused, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		return err
	}
	return refused.Err()
}

func authorized(ctx context.Context) bool {
	sent, _ := metadata.FromIncomingContext(ctx)
	return slices.Contains(sent.Get("authorization"), "Bearer "+testKey)
}

func (f *fake) BatchIngestEvents(_ context.Context, request *pb.BatchIngestEventsRequest) (*pb.BatchIngestEventsResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	reply := &pb.BatchIngestEventsResponse{}
	for _, event := range request.Events {
		f.sentIDs = append(f.sentIDs, event.EventId)
		outcome := pb.IngestOutcome_INGEST_OUTCOME_ACCEPTED
		if f.stored[event.EventId] {
			outcome = pb.IngestOutcome_INGEST_OUTCOME_DUPLICATE
		}
		f.stored[event.EventId] = true
		reply.Results = append(reply.Results, &pb.IngestResult{Outcome: outcome})
	}
	if f.lostReplies > 0 {
		f.lostReplies--
		return nil, status.Error(codes.Unavailable, "the reply is lost")
	}
	return reply, nil
}

func (f *fake) Recommend(ctx context.Context, request *pb.RecommendRequest) (*pb.RecommendResponse, error) {
	if !authorized(ctx) {
		return nil, refuse(codes.Unauthenticated, "no key", &errdetails.ErrorInfo{Reason: "KEY_UNKNOWN"})
	}
	if request.Limit > 100 {
		return nil, refuse(codes.InvalidArgument, "limit must be 1 to 100, or 0 for the default",
			&errdetails.ErrorInfo{Reason: "INVALID_FIELD", Domain: "recsys.v1"},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "limit", Description: "must be 1 to 100, or 0 for the default"},
			}})
	}
	switch request.UserId {
	case "over quota":
		// The library must not retry this one.
		if err := grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1")); err != nil {
			return nil, err
		}
		return nil, refuse(codes.ResourceExhausted, "too many calls",
			&errdetails.ErrorInfo{Reason: "QUOTA_EXCEEDED"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	case "slow":
		// Until the client gives up.
		<-ctx.Done()
		return nil, ctx.Err()
	}
	deadline, _ := ctx.Deadline()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.remaining = time.Until(deadline)
	return &pb.RecommendResponse{RequestId: "list"}, nil
}

func (f *fake) ExportUserPages(_ *pb.ExportUserPagesRequest, stream grpc.ServerStreamingServer[pb.ExportUserPagesResponse]) error {
	if !authorized(stream.Context()) {
		return refuse(codes.Unauthenticated, "no key", &errdetails.ErrorInfo{Reason: "KEY_UNKNOWN"})
	}
	return stream.Send(&pb.ExportUserPagesResponse{StoredModel: "{}"})
}

// start runs a fake server until the test ends.
func start(t *testing.T) (*fake, string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recommender := &fake{stored: map[string]bool{}}
	server := grpc.NewServer()
	pb.RegisterRecommenderServiceServer(server, recommender)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return recommender, listener.Addr().String()
}

func connect(t *testing.T, options Options) *Client {
	client, err := NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// failure makes a call that fails, and returns its error.
func failure(t *testing.T, client *Client, ctx context.Context, request *pb.RecommendRequest) *Error {
	t.Helper()
	_, err := client.Recommend(ctx, request)
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("no error of recsys: %v", err)
	}
	if status.Code(err) != failed.Code {
		t.Errorf("status %v, code %v", status.Code(err), failed.Code)
	}
	return failed
}

func TestAnEventWhoseReplyIsLostIsRetriedAndCountsOnce(t *testing.T) {
	server, address := start(t)
	client := connect(t, Options{Addresses: address})
	server.lostReplies = 1
	event := &pb.InteractionEvent{UserId: "ada", EventType: "purchase", ContentId: "2004"}
	results, err := client.Ingest(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	if got := results[0].Outcome; got != pb.IngestOutcome_INGEST_OUTCOME_DUPLICATE {
		t.Errorf("outcome %v", got)
	}
	if !slices.Equal(server.sentIDs, []string{event.EventId, event.EventId}) {
		t.Errorf("sent %v", server.sentIDs)
	}
	if !maps.Equal(server.stored, map[string]bool{event.EventId: true}) {
		t.Errorf("stored %v", server.stored)
	}
}

func TestEventsKeepTheirIDsAndOthersGetOneEach(t *testing.T) {
	server, address := start(t)
	client := connect(t, Options{Addresses: address})
	events := []*pb.InteractionEvent{{EventId: "view-1"}, {}, {}}
	for _, sent := range [][]*pb.InteractionEvent{events, events[1:2]} {
		if _, err := client.Ingest(t.Context(), sent...); err != nil {
			t.Fatal(err)
		}
	}
	ids := server.sentIDs
	if ids[0] != "view-1" || ids[1] == "" || ids[2] == "" || ids[1] == ids[2] || ids[3] != ids[1] {
		t.Errorf("sent %v", ids)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	server, address := start(t)
	client := connect(t, Options{Addresses: address, Key: testKey})
	if _, err := client.Recommend(t.Context(), &pb.RecommendRequest{}); err != nil {
		t.Fatal(err)
	}
	if server.remaining <= 0 || server.remaining > time.Minute {
		t.Errorf("remaining %v", server.remaining)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Second)
	defer cancel()
	if _, err := client.Recommend(ctx, &pb.RecommendRequest{}); err != nil {
		t.Fatal(err)
	}
	if server.remaining <= time.Minute {
		t.Errorf("remaining %v", server.remaining)
	}
}

func TestACallEndsAtItsDeadline(t *testing.T) {
	_, address := start(t)
	client := connect(t, Options{Addresses: address, Key: testKey, Timeout: 200 * time.Millisecond})
	if failed := failure(t, client, t.Context(), &pb.RecommendRequest{UserId: "slow"}); failed.Code != codes.DeadlineExceeded {
		t.Errorf("%v", failed)
	}
}

func TestCallsAndStreamsSendTheKey(t *testing.T) {
	_, address := start(t)
	client := connect(t, Options{Addresses: address, Key: testKey})
	if _, err := client.Recommend(t.Context(), &pb.RecommendRequest{}); err != nil {
		t.Error(err)
	}
	pages, err := client.ExportUserPages(t.Context(), &pb.ExportUserPagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pages.Recv(); err != nil {
		t.Error(err)
	}
	other := connect(t, Options{Addresses: address})
	failed := failure(t, other, t.Context(), &pb.RecommendRequest{})
	if failed.Code != codes.Unauthenticated || failed.Reason != "KEY_UNKNOWN" {
		t.Errorf("%v", failed)
	}
}

func TestAnErrorNamesItsReasonAndEveryBrokenRule(t *testing.T) {
	_, address := start(t)
	client := connect(t, Options{Addresses: address, Key: testKey})
	failed := failure(t, client, t.Context(), &pb.RecommendRequest{Limit: 1000})
	if failed.Code != codes.InvalidArgument || failed.Reason != "INVALID_FIELD" || failed.RetryAfter != 0 {
		t.Errorf("%+v", failed)
	}
	if !slices.Equal(failed.Violations, []Violation{{"limit", "must be 1 to 100, or 0 for the default"}}) {
		t.Errorf("violations %v", failed.Violations)
	}
	text := "INVALID_ARGUMENT INVALID_FIELD: limit must be 1 to 100, or 0 for the default"
	if failed.Error() != text {
		t.Errorf("%v", failed)
	}
}

func TestAnErrorHasTheDelayAfterWhichToRetry(t *testing.T) {
	_, address := start(t)
	client := connect(t, Options{Addresses: address, Key: testKey})
	failed := failure(t, client, t.Context(), &pb.RecommendRequest{UserId: "over quota"})
	if failed.Reason != "QUOTA_EXCEEDED" || failed.RetryAfter != 1500*time.Millisecond {
		t.Errorf("%+v", failed)
	}
}

func TestAnErrorOfTheConnectionHasNoReason(t *testing.T) {
	client := connect(t, Options{Addresses: "127.0.0.1:1"})
	failed := failure(t, client, t.Context(), &pb.RecommendRequest{})
	if failed.Code != codes.Unavailable || failed.Reason != "" {
		t.Errorf("%+v", failed)
	}
}

func TestAClientCertificateWithoutTLSIsRefused(t *testing.T) {
	if _, err := NewClient(Options{CertFile: "client.pem", CertKeyFile: "client.key"}); err == nil {
		t.Error("it is taken")
	}
}

func TestTheServiceConfigIsTheOneOfAllClients(t *testing.T) {
	shared, err := os.ReadFile("../service_config.json")
	if err != nil {
		t.Skip("outside of the repository")
	}
	if string(shared) != serviceConfig {
		t.Error("copy ../service_config.json")
	}
}
