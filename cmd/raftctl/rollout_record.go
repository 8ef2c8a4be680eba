package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// rolloutRecord is what a rollout that was not finished has left, so that it goes on
// where it was: how often each coordinator had been started when it began.
type rolloutRecord struct {
	Restart string                `json:"restart"`
	Begun   time.Time             `json:"begun"`
	Began   map[string]serverBoot `json:"began"` // by coordinator id
	file    string
}

// serverBoot is one start of one server.
type serverBoot struct {
	ServerID string `json:"server_id"`
	Boot     uint64 `json:"boot"`
}

// maxRolloutAge is how old a rollout may be that is gone on with: what was restarted before
// is then hardly done by what is rolled out now.
const maxRolloutAge = 24 * time.Hour

// openRollout reads the record of this cluster's rollout by this command, or begins one.
// isNew says that there was none to go on with.
func openRollout(members []wire.Member, cluster, restart string, fromStart bool, now time.Time) (r *rolloutRecord, isNew bool, err error) {
	contexts, err := contextsFile()
	if err != nil {
		return nil, false, err
	}
	r = &rolloutRecord{file: filepath.Join(filepath.Dir(contexts), "rollout-"+filepath.Base(cluster)+".json")}
	b, err := os.ReadFile(r.file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, false, err
	case !fromStart:
		if err := json.Unmarshal(b, r); err != nil {
			return nil, false, fmt.Errorf("%s, the record of the last run: %w; begin again with --from-start", r.file, err)
		}
	}
	if isNew = r.Restart != restart; isNew {
		r.Restart, r.Begun, r.Began = restart, now.UTC().Truncate(time.Second), nil
	} else if now.Sub(r.Begun) > maxRolloutAge {
		return nil, false, fmt.Errorf("a rollout by this command was begun at %s and did not come to its end (%s): it is too old to go on with; begin again with --from-start",
			r.Begun.Format(time.RFC3339), r.file)
	}
	if r.Began == nil {
		r.Began = map[string]serverBoot{}
	}
	for _, m := range members {
		if _, ok := r.Began[m.ID]; !ok {
			r.Began[m.ID] = serverBoot{m.ServerID, m.Boot}
		}
	}
	return r, isNew, r.write()
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
	return durable.WriteText(r.file, b)
}

func (r *rolloutRecord) remove() error { return os.Remove(r.file) }
