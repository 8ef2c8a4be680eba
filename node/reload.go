package node

// reloader is a part of the node that reads its files again when it is asked.
type reloader struct {
	what   string // for the log
	reload func() error
}

// OnReload has f called by Reload. It is for the time before Run.
func (n *Node) OnReload(what string, f func() error) {
	n.reloaders = append(n.reloaders, reloader{what, f})
}

// Reload reads again what is in files, now, as SIGHUP asks for. What cannot be
// used is logged and the old stays: a running coordinator never ends for it. It
// may be called from any goroutine, once Open has returned; calls run one at a
// time.
func (n *Node) Reload() {
	n.reloadMu.Lock()
	defer n.reloadMu.Unlock()
	for _, r := range n.reloaders {
		if err := r.reload(); err != nil {
			n.log.Error("files were read again and cannot be used: the old ones stay in use", "of", r.what, "err", err)
		}
	}
	n.log.Info("files were read again")
}
