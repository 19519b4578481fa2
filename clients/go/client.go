// Package recsys is a client of recsys: a well-configured channel, and errors that can be
// read. The messages are in the package recsysv1.
package recsys

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // makes healthCheckConfig work
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	pb "github.com/recsys/recsys/clients/go/recsysv1"
)

const largestReplyBytes = 16 << 20

//go:embed service_config.json
var serviceConfig string

// Options of a client. Strings that are empty are read from the environment, from the
// variables that the fields name.
type Options struct {
	// A host name and port, all of whose addresses are used, or several addresses
	// separated by commas: RECSYS_ADDRESSES, else 127.0.0.1:50051.
	Addresses string
	// The key, if the server requires one: RECSYS_KEY.
	Key string
	// Whether to connect over TLS and trust the system's CAs.
	TLS bool
	// The CA certificates to trust instead (PEM); enables TLS: RECSYS_CA_FILE.
	CAFile string
	// The client's certificate and its key, for mutual TLS: RECSYS_CERT_FILE and
	// RECSYS_CERT_KEY_FILE.
	CertFile, CertKeyFile string
	// The name in the server's certificate, if not the host name: RECSYS_SERVER_NAME.
	ServerName string
	// The deadline of unary calls whose context has none, retries included. 0 = 10 s.
	Timeout time.Duration
}

// Client makes the calls of both services. Create one for each process; it is safe for
// concurrent use. The error of a failed unary call is an [*Error]. Each call is retried as
// service_config.json says.
type Client struct {
	pb.RecommenderServiceClient
	pb.CatalogServiceClient
	channel *grpc.ClientConn
}

// NewClient returns a client, which connects with the first call.
func NewClient(options Options) (*Client, error) {
	options.readEnvironment()
	transport, err := options.transport()
	if err != nil {
		return nil, err
	}
	dial := []grpc.DialOption{
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                30 * time.Second,
			Timeout:             10 * time.Second,
			PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestReplyBytes)),
		grpc.WithUnaryInterceptor(unary(options.Timeout)),
	}
	if options.Key != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(key(options.Key)))
	}
	target := "dns:///" + options.Addresses
	if strings.Contains(options.Addresses, ",") {
		several := manual.NewBuilderWithScheme("several")
		several.InitialState(endpoints(options.Addresses))
		dial = append(dial, grpc.WithResolvers(several))
		target = "several:///recsys"
	}
	channel, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, err
	}
	return &Client{pb.NewRecommenderServiceClient(channel), pb.NewCatalogServiceClient(channel), channel}, nil
}

// Ingest sends events of any users, at most 1,000, and returns a result for each.
//
// An event without an EventId gets one, in place: a retry counts once, and so does an
// event that you send again.
func (c *Client) Ingest(ctx context.Context, events ...*pb.InteractionEvent) ([]*pb.IngestResult, error) {
	for _, event := range events {
		if event.EventId == "" {
			event.EventId = rand.Text()
		}
	}
	reply, err := c.BatchIngestEvents(ctx, &pb.BatchIngestEventsRequest{Events: events})
	return reply.GetResults(), err
}

// Close closes the connections. Calls in flight are canceled.
func (c *Client) Close() error {
	return c.channel.Close()
}

func (o *Options) readEnvironment() {
	for field, variable := range map[*string]string{
		&o.Addresses:   "RECSYS_ADDRESSES",
		&o.Key:         "RECSYS_KEY",
		&o.CAFile:      "RECSYS_CA_FILE",
		&o.CertFile:    "RECSYS_CERT_FILE",
		&o.CertKeyFile: "RECSYS_CERT_KEY_FILE",
		&o.ServerName:  "RECSYS_SERVER_NAME",
	} {
		if *field == "" {
			*field = os.Getenv(variable)
		}
	}
	if o.Addresses == "" {
		o.Addresses = "127.0.0.1:50051"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
}

func (o *Options) transport() (credentials.TransportCredentials, error) {
	certified := o.CertFile != "" || o.CertKeyFile != ""
	if !o.TLS && o.CAFile == "" {
		if certified {
			return nil, errors.New("a client certificate needs TLS or a CA file")
		}
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", o.CAFile)
		}
	}
	if certified {
		certificate, err := tls.LoadX509KeyPair(o.CertFile, o.CertKeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return credentials.NewTLS(config), nil
}

func endpoints(addresses string) (state resolver.State) {
	for address := range strings.SplitSeq(addresses, ",") {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address}},
		})
	}
	return state
}

// unary gives a call a deadline, and makes its error an [*Error].
func unary(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, channel *grpc.ClientConn,
		call grpc.UnaryInvoker, options ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return ErrorOf(call(ctx, method, request, reply, channel, options...))
	}
}

// key is sent with each call.
type key string

func (k key) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(k)}, nil
}

// RequireTransportSecurity is false: inside a cluster, servers may be without TLS.
func (key) RequireTransportSecurity() bool {
	return false
}
