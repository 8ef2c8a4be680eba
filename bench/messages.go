package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// sizes are the payloads of the throughput, and how many messages of each size
// are sent for one of the smallest.
var sizes = []struct {
	bytes int
	share float64
}{{128, 1}, {1 << 10, 0.5}, {16 << 10, 0.05}}

// sender sends to one receiver; one goroutine uses it.
type sender interface {
	// send sends the next message, with its number in the first eight bytes; it
	// may keep it until flush.
	send(ctx context.Context, seq uint64) error
	flush() error
	// outcomes tells what became of the messages so far.
	outcomes() outcomes
	close()
}

// outcomes of one sender's messages.
type outcomes struct {
	none      bool // the system tells none, or only failures
	delivered int64
	failed    int64
	last      error
}

// ways are how messages are sent and received, by system: connect a sender at
// the first server and a receiver, which feeds the tally, at the second.
var ways = map[string]func(ctx context.Context, c *cluster, name string, size int, t *tally) (sender, error){
	"folkmoot":            openSDK,
	"folkmoot-tls":        openSDK,
	"folkmoot-tls-tokens": openSDK,
	"folkmoot-raw":        openRaw,
	"folkmoot-raw-silent": openSilent,
	"nats":                openNATS,
}

// lead is how many messages a sender may be ahead of its receiver: what the
// system holds for a receiver before it refuses more or cuts it off, less a
// margin. A mailbox has 1000 messages and 16 MiB, NATS' outbound buffer 64 MiB.
func lead(system string, size int) int64 {
	if system == "nats" {
		return int64(min(64<<10, 32<<20/size))
	}
	return 900
}

func theMessages() measurement {
	m := measurement{
		name: "messages", base: "nats", run: messages,
		systems: []string{"folkmoot", "folkmoot-raw", "folkmoot-raw-silent", "nats"},
		help: "messages between clients of two servers, all of them counted at the receiver; folkmoot: the product's Go client, raw: frames without a client library, both with every outcome told; " +
			"silent: only failures told, as nothing is by NATS core",
	}
	for _, size := range sizes {
		m.sheets = append(m.sheets, sheet{
			what: fmt.Sprintf("messages %d", size.bytes), title: fmt.Sprintf("messages of %d bytes between clients of two servers, received", size.bytes), row: "pairs",
			columns: []column{columnRate, {"MB/s", "%.0f", func(s sample) float64 { return s.rate * float64(size.bytes) / 1e6 }}}, by: rate,
		})
	}
	return m
}

// messages measures the throughput between clients of two servers.
func messages(ctx context.Context, o options, m measurement, dir string, res results) error {
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		for _, size := range sizes {
			for _, pairs := range o.pairs {
				n := int64(max(1, float64(o.messages)*size.share/float64(pairs)))
				stop := o.profile(c, fmt.Sprintf("messages-%d-%d", size.bytes, pairs))
				s, err := flood(ctx, c, pairs, size.bytes, n)
				stop()
				if err != nil {
					return fmt.Errorf("%d pairs, %d bytes: %w", pairs, size.bytes, err)
				}
				res.add(fmt.Sprintf("messages %d", size.bytes), pairs, system, s)
				fmt.Fprintf(os.Stderr, "  %6d B %3d pairs: %9.0f/s received, %7.1f MB/s, %d sent, %s\n",
					size.bytes, pairs, s.rate, s.rate*float64(size.bytes)/1e6, n*int64(pairs), s.note)
			}
		}
		return nil
	})
}

// pair is a sender and what its receiver got.
type pair struct {
	sender
	t *tally
}

// flood has pairs of a sender and a receiver pass n messages each, after a
// twentieth as many to warm up.
func flood(ctx context.Context, c *cluster, pairs, size int, n int64) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c.run++
	all := make([]pair, 0, pairs)
	defer func() {
		for _, p := range all {
			p.close()
		}
	}()
	for i := range pairs {
		t := newTally()
		s, err := ways[c.system](ctx, c, fmt.Sprintf("run%dpair%d", c.run, i), size, t)
		if err != nil {
			return sample{}, err
		}
		all = append(all, pair{s, t})
	}
	warm := max(n/20, 100)
	if _, err := pass(ctx, all, 0, warm, lead(c.system, size)); err != nil {
		return sample{}, fmt.Errorf("warming up: %w", err)
	}
	took, err := pass(ctx, all, warm, warm+n, lead(c.system, size))
	if err != nil {
		return sample{}, err
	}
	out := sample{rate: float64(n) * float64(pairs) / took.Seconds(), note: "no outcomes told"}
	for _, p := range all {
		o, err := settled(ctx, p.sender, warm+n)
		if err != nil {
			return sample{}, err
		}
		if !o.none {
			out.note = "every outcome told: delivered"
		}
		out.errors += int(p.t.wrong.Load())
	}
	return out, nil
}

// pass has all pairs pass the messages numbered from from to before to and
// returns the time to the last one that arrived.
func pass(ctx context.Context, all []pair, from, to, ahead int64) (time.Duration, error) {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	begin := time.Since(started)
	for i, p := range all {
		p.t.expected.Store(to)
		wg.Go(func() { errs[i] = pour(ctx, p, from, to, ahead) })
	}
	wg.Wait()
	var last time.Duration
	for i, p := range all {
		if errs[i] != nil {
			return 0, fmt.Errorf("%d of %d messages arrived: %w (%v)", p.t.got.Load(), to, errs[i], p.outcomes().last)
		}
		last = max(last, time.Duration(p.t.last.Load()))
	}
	return last - begin, nil
}

// pour sends, never more than ahead before the receiver, and returns when all
// have arrived.
func pour(ctx context.Context, p pair, from, to, ahead int64) error {
	for seq := from; seq < to; {
		if err := p.t.await(ctx, seq-ahead/2); err != nil { // half: so that it need not wait for each
			return err
		}
		until := min(to, p.t.got.Load()+ahead)
		for ; seq < until; seq++ {
			if err := p.send(ctx, uint64(seq)); err != nil {
				return err
			}
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
	return p.t.await(ctx, to)
}

// settled waits until all outcomes are told; all must be delivered.
func settled(ctx context.Context, s sender, n int64) (outcomes, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		o := s.outcomes()
		switch {
		case o.failed > 0:
			return o, fmt.Errorf("%d messages were not delivered: %w", o.failed, o.last)
		case o.none || o.delivered == n:
			return o, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return o, fmt.Errorf("%d of %d outcomes were told", o.delivered, n)
		}
	}
}
