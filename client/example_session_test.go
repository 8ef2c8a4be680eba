package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// doors are those of a cluster for an example.
func doors() (addrs []string, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	addr, end, err := cluster(dir)
	if err != nil {
		panic(err)
	}
	return []string{addr}, func() {
		end()
		os.RemoveAll(dir)
	}
}

// Two components: one offers a method, the other calls it.
func ExampleDial() {
	addrs, stop := doors()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	laser, err := client.Dial(ctx, client.Component{
		Addrs:  addrs,
		SignIn: wire.SignIn{Name: "laser", Labels: map[string]string{"room": "7"}},
		Methods: map[string]client.Method{
			"set_power": func(_ context.Context, r *client.Request) (any, error) {
				var in struct{ Watts float64 }
				if err := r.Decode(&in); err != nil {
					return nil, err
				}
				return fmt.Sprintf("%s wants %.1f W", r.From, in.Watts), nil
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer laser.Close(ctx)

	gui, err := client.Dial(ctx, client.Component{Addrs: addrs, SignIn: wire.SignIn{Name: "gui"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gui.Close(ctx)

	var answer string
	err = gui.Call(ctx, "laser", "set_power", map[string]float64{"watts": 2.5}, &answer)
	fmt.Println(answer, err)
	// Output: n1.gui wants 2.5 W <nil>
}

// Every send ends in one outcome that a program can act on.
func ExampleSession_Send() {
	addrs, stop := doors()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	gui, err := client.Dial(ctx, client.Component{Addrs: addrs, SignIn: wire.SignIn{Name: "gui"}, Inbox: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gui.Close(ctx)

	err = gui.Send(ctx, wire.Message{To: "gui", Payload: [][]byte{[]byte("to myself")}})
	fmt.Println("delivered:", err == nil)
	fmt.Printf("%s\n", (<-gui.Messages()).Payload[0])

	err = gui.Send(ctx, wire.Message{To: "nobody", Payload: [][]byte{[]byte("hello?")}})
	var refusal *wire.Error
	fmt.Println(errors.As(err, &refusal), refusal.Code)
	// Output:
	// delivered: true
	// to myself
	// true not_found
}

// A list that stays right: watch first, then list, then apply the news.
func ExampleSession_Watch() {
	addrs, stop := doors()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	gui, err := client.Dial(ctx, client.Component{Addrs: addrs, SignIn: wire.SignIn{Name: "gui"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gui.Close(ctx)

	news, err := gui.Watch(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for c := range gui.Components(ctx, client.Directory{Prefix: "n1.g"}) {
		fmt.Println("there is", c.FullName)
	}
	laser, err := client.Dial(ctx, client.Component{Addrs: addrs, SignIn: wire.SignIn{Name: "laser"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	laser.Close(ctx)
	for e := range news {
		if e.Key != "n1.laser" {
			continue
		}
		fmt.Println(e.Key, e.Kind)
		if e.Kind == "signed_out" {
			break
		}
	}
	// Output:
	// there is n1.gui
	// n1.laser signed_in
	// n1.laser signed_out
}

// A job over the same session.
func ExampleSession_Submit() {
	addrs, stop := doors()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	gui, err := client.Dial(ctx, client.Component{Addrs: addrs, SignIn: wire.SignIn{Name: "gui"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gui.Close(ctx)

	job, err := gui.Submit(ctx, wire.SubmitJob{
		Runtime: "sh", Script: "echo $((ITEM * ITEM))",
		Items: []json.RawMessage{json.RawMessage("3"), json.RawMessage("4")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err = gui.WaitJob(ctx, job.ID)
	fmt.Println(job.State, err)
	for r, err := range gui.JobResults(ctx, job.ID) {
		fmt.Printf("%d: %s %v\n", r.Part, r.Result, err)
	}
	// Output:
	// done <nil>
	// 0: 9 <nil>
	// 1: 16 <nil>
}
