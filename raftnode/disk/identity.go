package disk

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// Identity is who a coordinator is, and the few things that it alone knows,
// kept in local.db of its data directory: incarnation, boot counter, cluster
// and where the others were last. Its methods may be called from any goroutine.
type Identity struct {
	db   *bbolt.DB
	path string
	dir  string

	mu    sync.Mutex
	self  SelfRecord
	peers map[string]Peer // by server id
}

// SelfRecord is the one record about this server. Version 1: 2026-11.
type SelfRecord struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	Boot        uint64 `json:"boot"`
	Cluster     string `json:"cluster,omitempty"`
	LogStore    string `json:"log_store,omitempty"` // set once the log exists
	Member      bool   `json:"member,omitempty"`    // was in the configuration once
	Removed     bool   `json:"removed,omitempty"`
	Last        uint64 `json:"last,omitempty"` // end of the log at the last orderly stop; 0 while running
	Role        string `json:"role,omitempty"` // an operator's word against the configuration
	// Superseded is the newer process of this server that ended the last one.
	Superseded Peer `json:"superseded,omitzero"`
	// Recovering is the directory with the copy of before, while a recovery is under way. Since 2026-12.
	Recovering string `json:"recovering,omitempty"`
	// Recovered is the word of the last recovery that was asked for with one. Since 2026-12.
	Recovered string `json:"recovered,omitempty"`
}

// Roles an operator has given.
const (
	RoleVoter    = "voter"
	RoleNonVoter = "nonvoter"
)

// Peer is where a server was last known to be. Of two records of one server
// the newer one is right.
type Peer struct {
	ServerID string `json:"server_id"`
	ID       string `json:"id"`
	Address  string `json:"address"`
	Boot     uint64 `json:"boot"`
	Version  string `json:"version,omitempty"`
	// Run tells apart, and puts in order, two processes that began with copies
	// of one data directory and so count the same boot. Since 2026-11.
	Run string `json:"run,omitempty"`
}

// NewerThan reports whether p is of a later start of its server than q: by the boot
// that its data directory counted, or by the run when a copied directory counted
// the same. A record without a run is of the same start as any of its boot.
func (p Peer) NewerThan(q Peer) bool {
	if p.Boot != q.Boot {
		return p.Boot > q.Boot
	}
	return q.Run != "" && p.Run > q.Run
}

const (
	localFile   = "local.db"
	localFormat = 1
)

var (
	bucketSelf  = []byte("self")
	bucketPeers = []byte("peers")
	keySelf     = []byte("self")
)

// OpenIdentity opens the data directory of coordinator id for this process
// alone, making it at the first start, and counts one more boot. Pass it on
// to the node, which owns it from then on, or Close it.
func OpenIdentity(dir, id string) (*Identity, error) {
	if err := prepareDataDir(dir); err != nil {
		return nil, err
	}
	path := join(dir, localFile)
	old, err := pathExists(path)
	if err != nil {
		return nil, err
	}
	if !old {
		// local.db is made first, so any other data without it is a leftover.
		for _, name := range []string{boltFile, walDir, snapshotsDir} {
			if there, err := pathExists(join(dir, name)); err != nil || there {
				return nil, fmt.Errorf("%s is missing beside %s: the data directory is not whole", path, join(dir, name))
			}
		}
	}
	db, err := openBolt(path, 0)
	if err != nil {
		return nil, err
	}
	l := &Identity{db: db, path: path, dir: dir, peers: map[string]Peer{}}
	if err := RecoverFaults(path, func() error { return l.load(id, !old) }); err != nil {
		db.Close()
		return nil, err
	}
	return l, durable.SyncDir(dir)
}

// load reads the records and counts the boot.
func (l *Identity) load(id string, fresh bool) error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		self, err := tx.CreateBucketIfNotExists(bucketSelf)
		if err != nil {
			return err
		}
		peers, err := tx.CreateBucketIfNotExists(bucketPeers)
		if err != nil {
			return err
		}
		// A crash before the first commit leaves an empty file behind.
		sealed := self.Get(keySelf)
		if sealed == nil && !fresh {
			if there, err := pathExists(join(l.dir, boltFile)); err != nil || there {
				return fmt.Errorf("it holds no identity, but %s exists", boltFile)
			}
		}
		if sealed == nil {
			l.self = SelfRecord{Version: localFormat, ID: id, Incarnation: newIncarnation()}
		} else if err := decodeSealedJSON(keySelf, sealed, &l.self); err != nil {
			return err
		}
		switch {
		case l.self.Version != localFormat:
			return fmt.Errorf("format %d is not known to this build (it knows %d)", l.self.Version, localFormat)
		case l.self.ID != id:
			return fmt.Errorf("it belongs to coordinator %q, not to %q", l.self.ID, id)
		case l.self.Recovering != "":
			return fmt.Errorf("a recovery was begun and did not end: repeat raftctl recover with the same --peers, or put back what is in %s", join(l.dir, l.self.Recovering))
		}
		l.self.Boot++
		if err := putSealedJSON(self, keySelf, l.self); err != nil {
			return err
		}
		return l.loadPeers(peers)
	})
}

func (l *Identity) loadPeers(peers *bbolt.Bucket) error {
	return peers.ForEach(func(k, v []byte) error {
		var p Peer
		if err := decodeSealedJSON(k, v, &p); err != nil {
			return err
		}
		l.peers[p.ServerID] = p
		return nil
	})
}

// ErrNeverRun is of a directory in which no coordinator has run.
var ErrNeverRun = errors.New("is no data directory of a coordinator that has run")

// OpenStopped opens the data directory of a coordinator that has run and does not run
// now, for this process alone, to work on its files: nothing is made, and no boot is
// counted. The caller closes it.
func OpenStopped(dir string) (*Identity, error) {
	for _, name := range []string{localFile, boltFile} {
		if there, err := pathExists(join(dir, name)); err != nil {
			return nil, err
		} else if !there {
			return nil, fmt.Errorf("%s %w: %s is missing", dir, ErrNeverRun, join(dir, name))
		}
	}
	path := join(dir, localFile)
	db, err := openBolt(path, 0)
	if err != nil {
		return nil, err
	}
	l := &Identity{db: db, path: path, dir: dir, peers: map[string]Peer{}}
	err = RecoverFaults(path, func() error {
		return db.View(func(tx *bbolt.Tx) error {
			self, peers := tx.Bucket(bucketSelf), tx.Bucket(bucketPeers)
			if self == nil || peers == nil || self.Get(keySelf) == nil {
				return errors.New("it holds no identity")
			}
			if err := decodeSealedJSON(keySelf, self.Get(keySelf), &l.self); err != nil {
				return err
			}
			if l.self.Version != localFormat {
				return fmt.Errorf("format %d is not known to this build (it knows %d)", l.self.Version, localFormat)
			}
			return l.loadPeers(peers)
		})
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

func newIncarnation() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func putSealedJSON(b *bbolt.Bucket, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, addChecksum(key, text))
}

func decodeSealedJSON(key, sealed []byte, v any) error {
	text, err := stripChecksum(key, sealed)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// Close gives the data directory free. Only for an Identity that no node owns.
func (l *Identity) Close() error { return l.db.Close() }

// ID is the coordinator's name.
func (l *Identity) ID() string { return l.Record().ID }

// Incarnation tells two disks of one coordinator apart.
func (l *Identity) Incarnation() string { return l.Record().Incarnation }

// ServerID is the raft server id, name/incarnation.
func (l *Identity) ServerID() string {
	s := l.Record()
	return s.ID + "/" + s.Incarnation
}

// CoordinatorID is the coordinator's name in a server id.
func CoordinatorID(serverID string) string {
	if i := strings.LastIndexByte(serverID, '/'); i >= 0 {
		return serverID[:i]
	}
	return serverID
}

// Cluster is the id of the cluster, "" while there is none yet.
func (l *Identity) Cluster() string { return l.Record().Cluster }

// Dir is the data directory.
func (l *Identity) Dir() string { return l.dir }

// Record is the record about this server, as it is on disk.
func (l *Identity) Record() SelfRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.self
}

// Update has edit change the record about this server, and writes it to disk
// before Record returns it. An edit that changes nothing writes nothing.
func (l *Identity) Update(edit func(*SelfRecord)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.self
	if edit(&next); next == l.self {
		return nil
	}
	err := l.db.Update(func(tx *bbolt.Tx) error { return putSealedJSON(tx.Bucket(bucketSelf), keySelf, next) })
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	l.self = next
	return nil
}

// MergePeers stores records of other servers that are newer than those it has,
// at most MaxPeers, and returns which of them were.
func (l *Identity) MergePeers(records []Peer) (added []Peer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	self := l.self.ID + "/" + l.self.Incarnation // a newer process of this server is the caller's to notice
	for _, p := range records {
		old, known := l.peers[p.ServerID]
		if p.ServerID == "" || p.Address == "" || p.ServerID == self || known && !p.NewerThan(old) || !known && len(l.peers) >= MaxPeers {
			continue
		}
		added = append(added, p)
	}
	if len(added) == 0 {
		return nil, nil
	}
	err = l.db.Update(func(tx *bbolt.Tx) error {
		for _, p := range added {
			if err := putSealedJSON(tx.Bucket(bucketPeers), []byte(p.ServerID), p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	for _, p := range added {
		l.peers[p.ServerID] = p
	}
	return added, nil
}

// MaxPeers bounds what others can make this server remember.
const MaxPeers = 256

// PrunePeers drops the records of servers that keep does not want.
func (l *Identity) PrunePeers(keep func(serverID string) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id := range l.peers {
		if !keep(id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	err := l.db.Update(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := tx.Bucket(bucketPeers).Delete([]byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	for _, id := range ids {
		delete(l.peers, id)
	}
	return nil
}

// ReplacePeers stores records in the place of all that there are.
func (l *Identity) ReplacePeers(records []Peer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	peers := map[string]Peer{}
	err := l.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bucketPeers); err != nil {
			return err
		}
		b, err := tx.CreateBucket(bucketPeers)
		if err != nil {
			return err
		}
		for _, p := range records {
			if err := putSealedJSON(b, []byte(p.ServerID), p); err != nil {
				return err
			}
			peers[p.ServerID] = p
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	l.peers = peers
	return nil
}

// Peer is the record of one server.
func (l *Identity) Peer(serverID string) (Peer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.peers[serverID]
	return p, ok
}

// Peers is every record, the own not among them.
func (l *Identity) Peers() []Peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Peer, 0, len(l.peers))
	for _, p := range l.peers {
		all = append(all, p)
	}
	return all
}
