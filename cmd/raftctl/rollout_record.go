package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/folkmoot/folkmoot/wire"
)

// rolloutRecord is what a rollout that was not finished has left, so that it goes on
// where it was: how often each coordinator had been started when it began.
type rolloutRecord struct {
	Restart string                `json:"restart"`
	Began   map[string]serverBoot `json:"began"` // by coordinator id
	file    string
}

// serverBoot is one start of one server.
type serverBoot struct {
	ServerID string `json:"server_id"`
	Boot     uint64 `json:"boot"`
}

// openRollout reads the record of this cluster's rollout by this command, or begins one.
func openRollout(members []wire.Member, cluster, restart string, fromStart bool) (*rolloutRecord, error) {
	contexts, err := contextsFile()
	if err != nil {
		return nil, err
	}
	r := &rolloutRecord{file: filepath.Join(filepath.Dir(contexts), "rollout-"+filepath.Base(cluster)+".json")}
	b, err := os.ReadFile(r.file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case !fromStart:
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s, the record of the last run: %w; begin again with --from-start", r.file, err)
		}
	}
	if r.Restart != restart {
		r.Restart, r.Began = restart, map[string]serverBoot{}
	}
	for _, m := range members {
		if _, ok := r.Began[m.ID]; !ok {
			r.Began[m.ID] = serverBoot{m.ServerID, m.Boot}
		}
	}
	return r, r.write()
}

// begunAnew reports whether a coordinator was started since the rollout began, with its
// disk or with an empty one.
func (r *rolloutRecord) begunAnew(m wire.Member) bool {
	was := r.Began[m.ID]
	return m.ServerID != was.ServerID || m.Boot > was.Boot
}

func (r *rolloutRecord) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.file), 0o700); err != nil {
		return err
	}
	partial := r.file + ".new"
	return errors.Join(os.WriteFile(partial, b, 0o600), os.Rename(partial, r.file))
}

func (r *rolloutRecord) remove() error { return os.Remove(r.file) }
