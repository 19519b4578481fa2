package main

import (
	"context"
	"fmt"
	"log"

	recsys "github.com/recsys/recsys/clients/go"
	pb "github.com/recsys/recsys/clients/go/recsysv1"
)

func main() {
	client, err := recsys.NewClient(recsys.Options{}) // of 127.0.0.1:50051
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	list, err := client.Recommend(context.Background(), &pb.RecommendRequest{UserId: "bob", Limit: 3})
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range list.Items {
		fmt.Println(item.ContentId, item.Reason)
	}
}
