package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
)

// What ends because this process closed it is no error to an operator; what
// ends otherwise is.
func TestClosedConnectionsAreDetail(t *testing.T) {
	var out strings.Builder
	log := adaptLogger(slog.New(slog.NewTextHandler(&out, nil)))
	log.Error("failed to decode incoming command", "error", &net.OpError{Op: "read", Err: net.ErrClosed})
	if out.Len() != 0 {
		t.Errorf("a closed connection: %s", out.String())
	}
	log.Error("failed to decode incoming command", "error", fmt.Errorf("read: %w", errors.New("unknown rpc type 99")))
	if !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "99") {
		t.Errorf("another error: %q", out.String())
	}
}
