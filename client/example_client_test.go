package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// restAddrs are the REST addresses of a cluster for an example.
func restAddrs() (addrs []string, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	at, end, err := run(node.Config{DataDir: dir, Worker: true, Slots: 2})
	if err != nil {
		panic(err)
	}
	return []string{at.HTTP}, func() {
		end()
		os.RemoveAll(dir)
	}
}

// A job over REST: its results as they end, at whichever coordinator answers.
func ExampleClient_Results() {
	addrs, stop := restAddrs()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.New(client.Config{Addrs: addrs})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	job, _, err := c.Submit(ctx, wire.SubmitJob{
		Runtime: "sh", Script: "echo $((ITEM + 1))",
		Items: []json.RawMessage{json.RawMessage("1"), json.RawMessage("2")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for r, err := range c.Results(ctx, job.ID, true) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("part %d: %s\n", r.Part, r.Result)
	}
	// Unordered output:
	// part 0: 2
	// part 1: 3
}

// A program that knows only the REST addresses signs in over a WebSocket.
func ExampleClient_Dial() {
	addrs, stop := restAddrs()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.New(client.Config{Addrs: addrs})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	camera, err := c.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: "camera"}, Inbox: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer camera.Close(ctx)

	err = camera.Send(ctx, wire.Message{To: "camera", Payload: [][]byte{[]byte("to myself")}})
	fmt.Println(camera.FullName(), err)
	fmt.Printf("%s\n", (<-camera.Messages()).Payload[0])
	// Output:
	// n1.camera <nil>
	// to myself
}
