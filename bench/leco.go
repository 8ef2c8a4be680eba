package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

//go:embed leco.py
var lecoProgram []byte

// lecoLead is how many messages the sender may be ahead of the receiver: less
// than a mailbox of ours (1000) and than a queue of ZeroMQ's (1000).
const lecoLead = 800

func theLeco() measurement {
	return measurement{
		name: "leco", base: "pyleco", run: leco,
		systems: []string{"folkmoot", "pyleco"},
		help:    "pyleco's communicator asks pyleco's actor, and a DEALER socket floods another, through two coordinators; makes a Python with pyleco in the user's cache",
		sheets: []sheet{
			{what: "leco requests", title: "a pyleco communicator's requests to an actor at another coordinator", row: "clients", columns: inMicros, by: p50},
			{what: "leco messages", title: "LECO messages of 128 bytes to a component at another coordinator, received", row: "clients", columns: []column{columnRate}, by: rate},
		},
	}
}

// pylecoCluster is two pyleco coordinators, linked to each other.
func pylecoCluster(dir string) (*cluster, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	py, err := newPython(dir)
	if err != nil {
		return nil, err
	}
	c := &cluster{}
	for i, addr := range addrs {
		name := fmt.Sprintf("n%d", i+1)
		s := py.server(name, filepath.Join(dir, name+".log"), "coordinator", name, portOf(addr))
		s.leco = addr
		if i > 0 {
			s.args = append(s.args, addrs[0])
		}
		c.servers = append(c.servers, s)
	}
	return c, nil
}

// python is a Python that has pyleco, and the program for it.
type python struct{ bin, program string }

func newPython(dir string) (py python, err error) {
	if py.bin, err = pyenv.Ready(pyenv.LECO...); err != nil {
		return py, fmt.Errorf("a Python with pyleco: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return py, err
	}
	py.program = filepath.Join(dir, "leco.py")
	return py, os.WriteFile(py.program, lecoProgram, 0o600)
}

// server is the program as a process that runs until it is killed.
func (py python) server(name, log string, args ...string) *server {
	return &server{name: name, bin: py.bin, log: log, args: append([]string{py.program}, args...)}
}

// measure runs the program, which prints what it measured as JSON.
func (py python) measure(ctx context.Context, args ...string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, py.bin, append([]string{py.program}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = dieWithUs()
	if err := cmd.Run(); err != nil {
		text := errs.Bytes()
		return sample{}, fmt.Errorf("%w: %s", err, text[max(0, len(text)-600):])
	}
	var got struct {
		Rate float64 `json:"rate"` // per second
		P50  float64 `json:"p50"`  // milliseconds
		P99  float64 `json:"p99"`
		Lost int     `json:"lost"` // requests without an answer
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return sample{}, fmt.Errorf("%q: %w", out.String(), err)
	}
	return sample{rate: got.Rate, p50: got.P50, p99: got.P99, errors: got.Lost}, nil
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// leco measures real LECO clients at two coordinators.
func leco(ctx context.Context, o options, m measurement, dir string, res results) error {
	o.leco = true
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		py, err := newPython(dir)
		if err != nil {
			return err
		}
		near, far := portOf(c.servers[0].leco), portOf(c.servers[1].leco)
		s, err := beside(ctx, o, c, py, "ask", []string{"actor", far, "actor#"},
			"ask", near, "asker#", "n2.actor#", strconv.FormatFloat(o.duration.Seconds(), 'f', -1, 64))
		if err != nil {
			return fmt.Errorf("requests: %w", err)
		}
		res.add("leco requests", 1, system, s)
		fmt.Fprintf(os.Stderr, "  requests: %7.0f/s  p50 %6.0f us  p99 %6.0f us  lost %d\n", s.rate, s.p50*1000, s.p99*1000, s.errors)
		n := strconv.Itoa(o.lecoMessages)
		s, err = beside(ctx, o, c, py, "flood", []string{"sink", far, "sink#", n},
			"flood", near, "flood#", "n2.sink#", n, "128", strconv.Itoa(lecoLead))
		if err != nil {
			return fmt.Errorf("messages: %w", err)
		}
		res.add("leco messages", 1, system, s)
		fmt.Fprintf(os.Stderr, "  messages: %7.0f/s\n", s.rate)
		return nil
	})
}

// beside measures with the one program while the other runs. A program that
// fails, as when a message was lost, is tried twice again, and that is counted.
// In the arguments # stands for the number of the try: pyleco keeps names.
func beside(ctx context.Context, o options, c *cluster, py python, label string, other []string, measure ...string) (sample, error) {
	for failed := 0; ; failed++ {
		number := func(args []string) (out []string) {
			for _, a := range args {
				out = append(out, strings.ReplaceAll(a, "#", strconv.Itoa(failed)))
			}
			return out
		}
		s, err := besideOnce(ctx, o, c, py, fmt.Sprintf("%s%d", label, failed), number(other), number(measure))
		if err == nil || failed == 2 || ctx.Err() != nil {
			s.errors += failed
			return s, err
		}
		fmt.Fprintf(os.Stderr, "  %s failed, again: %v\n", label, err)
	}
}

func besideOnce(ctx context.Context, o options, c *cluster, py python, label string, other, measure []string) (sample, error) {
	s := py.server(label, c.servers[0].log+"-"+label, other...)
	if err := s.start(); err != nil {
		return sample{}, err
	}
	defer s.kill()
	defer o.profile(c, "leco-"+label)()
	return py.measure(ctx, measure...)
}
