package router

import "sync"

// pageSize is how many messages of a mailbox lie together.
const pageSize = 16

type page [pageSize]Numbered

var pages = sync.Pool{New: func() any { return new(page) }}

// queue is a mailbox's messages, in order. An empty one holds no memory, and a
// long one is never copied to grow. The zero value works.
type queue struct {
	pages []*page
	head  int // place of the first one in pages[0]
	n     int
}

// at returns the i-th message. It is valid until the next push or pop.
func (q *queue) at(i int) *Numbered {
	i += q.head
	return &q.pages[i/pageSize][i%pageSize]
}

// push makes room for one more message and returns its place.
func (q *queue) push() *Numbered {
	if q.head+q.n == len(q.pages)*pageSize {
		q.pages = append(q.pages, pages.Get().(*page))
	}
	q.n++
	return q.at(q.n - 1)
}

// pop forgets the first message.
func (q *queue) pop() {
	*q.at(0) = Numbered{}
	q.head++
	q.n--
	if q.head == pageSize || q.n == 0 {
		pages.Put(q.pages[0])
		rest := copy(q.pages, q.pages[1:])
		q.pages[rest] = nil
		q.pages, q.head = q.pages[:rest], 0
	}
}

// drain returns all messages and empties the queue.
func (q *queue) drain() []Numbered {
	all := make([]Numbered, 0, q.n)
	for q.n > 0 {
		all = append(all, *q.at(0))
		q.pop()
	}
	return all
}
