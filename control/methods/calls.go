package methods

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// maxCalls bounds the requests of this coordinator that wait for an answer.
const maxCalls = 10_000

// calls are the conversations that this coordinator opened itself.
type calls struct {
	mu      sync.Mutex
	waiting map[[16]byte]chan []byte
}

func (c *calls) open(conversation [16]byte) (<-chan []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxCalls {
		e := wire.Refuse(wire.CodeBusy, "%d requests wait for an answer already", maxCalls)
		e.RetryAfter = time.Second
		return nil, e
	}
	if c.waiting == nil {
		c.waiting = map[[16]byte]chan []byte{}
	}
	answer := make(chan []byte, 1)
	c.waiting[conversation] = answer
	return answer, nil
}

func (c *calls) close(conversation [16]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, conversation)
}

// resolve hands a message to the one who waits for its conversation; the first
// answer counts. It reports whether the message is such an answer: a request or a
// notification in the conversation is none.
func (c *calls) resolve(m wire.Message) bool {
	c.mu.Lock()
	_, ok := c.waiting[m.Conversation]
	c.mu.Unlock()
	if !ok {
		return false
	}
	var content []byte
	if len(m.Payload) > 0 {
		content = m.Payload[0]
	}
	var asks struct{ Method *string }
	if json.Unmarshal(content, &asks) == nil && asks.Method != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.waiting[m.Conversation]; ok {
		answer <- content
		delete(c.waiting, m.Conversation)
	}
	return true
}
