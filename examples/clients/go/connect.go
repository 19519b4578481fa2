package main

import (
	"context"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // makes healthCheckConfig work
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	serviceConfigFile = "../service_config.json"
	largestReplyBytes = 64 << 20
)

// connect opens the one channel of the process. It holds a connection to each
// address.
func connect(addresses, caFile, serverName, key string) (*grpc.ClientConn, error) {
	serviceConfig, err := os.ReadFile(serviceConfigFile)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithDefaultServiceConfig(string(serviceConfig)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                30 * time.Second,
			Timeout:             10 * time.Second,
			PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestReplyBytes)),
		grpc.WithUnaryInterceptor(withKey(key)),
	}
	if serverName != "" {
		options = append(options, grpc.WithAuthority(serverName))
	}
	if caFile == "" {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		authority, err := credentials.NewClientTLSFromFile(caFile, "")
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithTransportCredentials(authority))
	}

	// A name may resolve to several addresses: all of them are used.
	if !strings.Contains(addresses, ",") {
		return grpc.NewClient("dns:///"+addresses, options...)
	}
	several := manual.NewBuilderWithScheme("several")
	several.InitialState(state(strings.Split(addresses, ",")))
	options = append(options, grpc.WithResolvers(several))
	return grpc.NewClient("several:///recsys", options...)
}

func state(addresses []string) (state resolver.State) {
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address}},
		})
	}
	return state
}

// withKey sends the key with each call.
func withKey(key string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, channel *grpc.ClientConn,
		call grpc.UnaryInvoker, options ...grpc.CallOption) error {
		if key != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
		}
		return call(ctx, method, request, reply, channel, options...)
	}
}
