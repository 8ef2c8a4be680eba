//go:build unix

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/client/worker"
	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// workerSettings are the settings of a worker.
type workerSettings struct {
	*settings.Set
	client           settings.Client
	name, namespace  string
	host, group, dir string
	runtimes, labels []string
	slots            int
	lease, grace     time.Duration
	log              settings.Logging
}

// newWorkerSettings declares every setting of a worker. host is the name of
// this machine.
func newWorkerSettings(host string) *workerSettings {
	s := &workerSettings{Set: settings.New("config", settings.ReadFile)}
	s.DeclareFile("YAML file with any of these settings")
	s.client.Declare(s.Set)
	s.StringVar(&s.name, "name", "", "name to sign in under; default: worker-<host name>-<process id>")
	s.StringVar(&s.namespace, "namespace", "", "namespace of the name; default: that of the coordinator asked")
	s.StringSliceVar(&s.runtimes, "runtimes", []string{"python3", "sh"}, "runtimes to offer; those that do not work here are left out")
	s.IntVar(&s.slots, "slots", 1, "parts at once")
	s.StringSliceVar(&s.labels, "labels", nil, "KEY=VALUE,...: jobs may ask for them")
	s.StringVar(&s.host, "host", host, "host, for its place")
	s.StringVar(&s.group, "group", "", "group of hosts, for its place")
	s.StringVar(&s.dir, "dir", "", "where parts get their temporary directories; default: the system's")
	s.DurationVar(&s.lease, "lease", worker.DefaultLease, "how long the name lives without a sign of life")
	s.DurationVar(&s.grace, "grace", 10*time.Second, "how long parts may go on after SIGTERM")
	s.log.Declare(s.FlagSet, "info")
	return s
}

// config loads and checks the settings; its errors name the flag.
func (s *workerSettings) config(environ []string, stderr io.Writer) (worker.Config, error) {
	if err := s.Load(environ); err != nil {
		return worker.Config{}, err
	}
	log, _, err := s.log.Open(stderr)
	if err != nil {
		return worker.Config{}, err
	}
	s.hideToken(log)
	labels, err := s.labelMap()
	if err != nil {
		return worker.Config{}, err
	}
	runtimes, err := s.offered(log)
	if err != nil {
		return worker.Config{}, err
	}
	if s.slots < 1 {
		return worker.Config{}, fmt.Errorf("--slots %d: want at least 1", s.slots)
	}
	if s.grace <= 0 {
		s.grace = -1
	}
	if s.name == "" {
		host, _, _ := strings.Cut(s.host, ".")
		s.name = fmt.Sprintf("worker-%s-%d", host, os.Getpid())
	}
	cfg, err := s.client.Config()
	if err != nil {
		return worker.Config{}, err
	}
	cfg.UserAgent = "folkmoot-worker"
	c, err := client.New(cfg)
	if err != nil {
		return worker.Config{}, fmt.Errorf("--addr: %w", err)
	}
	return worker.Config{
		Client: c, Name: s.name, Namespace: s.namespace, Labels: labels,
		Place: wire.Place{Host: s.host, Group: s.group}, Lease: s.lease, Runtimes: runtimes, Slots: s.slots,
		Dir: s.dir, Grace: s.grace, Logger: log,
	}, nil
}

// hideToken blanks the token in what the system shows of this process.
func (s *workerSettings) hideToken(log *slog.Logger) {
	if s.client.Token == "" {
		return
	}
	s.client.Token = strings.Clone(s.client.Token) // it may be a piece of the argument that is blanked
	if err := work.HideSecrets(s.client.Token); err != nil {
		log.Warn("parts may read the token in /proc: give it by --token-file", "error", err)
	}
}

// labelMap parses --labels.
func (s *workerSettings) labelMap() (map[string]string, error) {
	labels := map[string]string{}
	for _, l := range s.labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--labels %q: want KEY=VALUE", l)
		}
		if _, told := labels[k]; told {
			return nil, fmt.Errorf("--labels: %s is told twice", k)
		}
		labels[k] = v
	}
	return labels, nil
}

// offered returns the runtimes of --runtimes that work here, at least one.
func (s *workerSettings) offered(log *slog.Logger) ([]work.Runtime, error) {
	for _, r := range s.runtimes {
		if !slices.Contains([]string{"python3", "sh"}, r) {
			return nil, fmt.Errorf("--runtimes %q: there are python3 and sh", r)
		}
	}
	runtimes, missing := work.Offered(s.runtimes)
	if len(runtimes) == 0 {
		return nil, fmt.Errorf("--runtimes %s: none of them works here: %w", strings.Join(s.runtimes, ","), missing)
	}
	if missing != nil {
		log.Warn("some runtimes are not offered: they do not work here", "error", missing)
	}
	return runtimes, nil
}
