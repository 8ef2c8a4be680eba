package member

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// SupersededError ends a process whose data directory was copied, or put back
// from a backup, and started elsewhere while it ran: two processes that are one
// server would undo each other's work for ever, and could vote twice. The one
// that started last goes on.
type SupersededError struct {
	Own, Newer disk.Peer
}

func (e *SupersededError) Error() string {
	return fmt.Sprintf("two processes run as the server %s: this one at %s (start %d of its data directory) and a newer one at %s (start %d); "+
		"this one stops: one of them runs on a copy of the other's data directory; stop the one that is not wanted, "+
		"and start this one again only when the other is gone; to have two coordinators give one of them another --id and an empty --data-dir",
		e.Own.ServerID, e.Own.Address, e.Own.Boot, e.Newer.Address, e.Newer.Boot)
}

// newRun makes a Run that is greater than those of earlier starts, as far as
// clocks tell, and the same as none.
func newRun(now time.Time) string {
	chance := make([]byte, 8)
	rand.Read(chance)
	return fmt.Sprintf("%016x-%s", now.UnixNano(), hex.EncodeToString(chance))
}

// liveRuns remembers the newest process of every server that has asked lately. The
// processes of one server seldom speak with each other, but each of them asks all
// the other members every second.
type liveRuns struct {
	mu     sync.Mutex
	latest map[string]run // by server id
}

type run struct {
	peer disk.Peer
	at   time.Duration // when it asked, by the clock of peerHealth
}

// record notes who asks at the time now, and returns the newer process of the
// same server if one has asked within patience: both are alive then.
func (r *liveRuns) record(p disk.Peer, now, patience time.Duration) *disk.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.latest[p.ServerID]; ok && last.peer.NewerThan(p) && now-last.at <= patience {
		return &last.peer
	}
	if r.latest == nil || len(r.latest) >= disk.MaxPeers {
		r.latest = map[string]run{}
	}
	r.latest[p.ServerID] = run{p, now}
	return nil
}

// checkSuperseded checks a live process of this very server, perhaps this one
// itself. A newer one ends this one; an older one hears of this one by itself.
func (m *Manager) checkSuperseded(p disk.Peer) {
	if p.ServerID != m.serverID || !p.NewerThan(m.self) || m.ctx.Err() != nil {
		return
	}
	// On disk first: a supervisor starts this process again at once, and it
	// would then be the newer one.
	if err := m.identity.Update(func(l *disk.SelfRecord) { l.Superseded = p }); err != nil {
		m.failStorage(err)
		return
	}
	m.host.Fail(&SupersededError{Own: m.self, Newer: p})
}

// AwaitSupersederGone refuses to start while the process that ended the last one on
// this data directory answers. Once it does not, this is the newest start.
func (m *Manager) AwaitSupersederGone(ctx context.Context) error {
	by := m.identity.Record().Superseded
	if by == (disk.Peer{}) {
		return nil
	}
	if now, ok := m.helloSuperseder(ctx, by); ok {
		return &SupersededError{Own: m.self, Newer: now}
	}
	m.log.Warn("a newer process of this server, on a copy of this data directory, does not answer any more: this one goes on, without what only the other has acknowledged",
		"server", m.serverID, "other", by.Address)
	err := m.identity.Update(func(l *disk.SelfRecord) { l.Boot, l.Superseded = max(l.Boot, by.Boot+1), disk.Peer{} })
	m.self.Boot = m.identity.Record().Boot
	return err
}

// helloSuperseder asks the newer process for its record. The question names no
// boot, so that it ends nobody.
func (m *Manager) helloSuperseder(ctx context.Context, by disk.Peer) (now disk.Peer, ok bool) {
	if by.Address == m.self.Address {
		return disk.Peer{}, false // it would be this process that answers
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	body, err := json.Marshal(Hello{Peer: disk.Peer{ServerID: m.serverID, ID: m.self.ID, Address: m.self.Address}, Cluster: m.identity.Cluster(), State: "stopped"})
	if err != nil {
		return disk.Peer{}, false
	}
	var h Hello
	if body, err = m.calls.Call(ctx, by.Address, methodHello, body); err != nil || json.Unmarshal(body, &h) != nil {
		return disk.Peer{}, false
	}
	return h.Peer, h.ServerID == m.serverID
}
