package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
)

// The layout of a bbolt file, version 2 (bbolt 1.3 to 1.5): little-endian on
// every machine we build for; pages of pageSize bytes, each with a header
// {id u64, flags u16, count u16, overflow u32}; pages 0 and 1 are metas.
const (
	pageHeader   = 16
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freePage     = 0x10
	metaSize     = 64
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	elementSize  = 16 // of a branch and of a leaf alike
	bucketHeader = 16
	bucketLeaf   = 0x01
	maxDepth     = 64
	manyFree     = 0xFFFF         // a count that says that the first number is the count
	noFreelist   = math.MaxUint64 // the ids of free pages are not kept
)

// pageChecker checks the tree of a bbolt file without trusting any number in it.
type pageChecker struct {
	f        *os.File
	pageSize int64           // bytes per page
	limit    uint64          // first page id past the end, by the meta page and by the file
	seen     map[uint64]bool // a page belongs to one place
}

// checkPages walks all pages that are reachable in f. An empty file is new and
// right. Both meta pages must be whole: bbolt would quietly fall back to the
// older one and so forget the last transaction, a vote or an entry that others
// count on.
func checkPages(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file")
	}
	p := &pageChecker{f: f, seen: map[uint64]bool{}}
	var newest meta
	for id := range uint64(2) {
		m, err := p.readMeta(id, newest.pageSize)
		if err != nil {
			return fmt.Errorf("meta page %d: %w", id, err)
		}
		if m.txid >= newest.txid {
			newest = m
		}
	}
	p.pageSize = int64(newest.pageSize)
	p.limit = min(newest.high, uint64(info.Size()/p.pageSize))
	if newest.high > p.limit {
		return fmt.Errorf("the file has %d pages, but says that it has %d", p.limit, newest.high)
	}
	if err := p.checkTree(newest.root, 0); err != nil || newest.free == noFreelist {
		return err
	}
	if err := p.checkFreelist(newest.free); err != nil {
		return fmt.Errorf("list of free pages at page %d: %w", newest.free, err)
	}
	return nil
}

type meta struct {
	pageSize   uint32
	root, high uint64
	free       uint64 // page of the list of free pages, or noFreelist
	txid       uint64
}

func (p *pageChecker) readMeta(id uint64, pageSize uint32) (meta, error) {
	b := make([]byte, pageHeader+metaSize)
	if err := readFullAt(p.f, b, int64(id)*int64(pageSize)); err != nil {
		return meta{}, err
	}
	if binary.LittleEndian.Uint64(b) != id || binary.LittleEndian.Uint16(b[8:]) != metaPage {
		return meta{}, fmt.Errorf("its header is damaged")
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m := meta{
		pageSize: binary.LittleEndian.Uint32(b[8:]),
		root:     binary.LittleEndian.Uint64(b[16:]),
		free:     binary.LittleEndian.Uint64(b[32:]),
		high:     binary.LittleEndian.Uint64(b[40:]),
		txid:     binary.LittleEndian.Uint64(b[48:]),
	}
	switch {
	case binary.LittleEndian.Uint32(b) != boltMagic:
		return meta{}, fmt.Errorf("it is not a bbolt file")
	case binary.LittleEndian.Uint32(b[4:]) != boltVersion:
		return meta{}, fmt.Errorf("unknown version %d", binary.LittleEndian.Uint32(b[4:]))
	case sum.Sum64() != binary.LittleEndian.Uint64(b[metaSize-8:]):
		return meta{}, fmt.Errorf("it does not fit its checksum")
	case m.pageSize < 512 || m.pageSize > 1<<20 || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("pages of %d bytes make no sense", m.pageSize)
	}
	return m, nil
}

// checkTree checks the page id and all below it.
func (p *pageChecker) checkTree(id uint64, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is out of place (at depth %d)", id, depth)
	}
	body, err := p.readPage(id)
	if err != nil {
		return err
	}
	if err := p.checkElements(body, depth, branchPage, leafPage); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// readPage returns the page id with what it overflows into, which belong to no
// other page from then on.
func (p *pageChecker) readPage(id uint64) ([]byte, error) {
	head := make([]byte, pageHeader)
	if id < 2 || id >= p.limit {
		return nil, fmt.Errorf("page %d is out of place (of %d)", id, p.limit)
	}
	if err := readFullAt(p.f, head, int64(id)*p.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || overflow >= p.limit-id {
		return nil, fmt.Errorf("page %d: its header is damaged", id)
	}
	for n := id; n <= id+overflow; n++ {
		if p.seen[n] {
			return nil, fmt.Errorf("page %d belongs to two places", n)
		}
		p.seen[n] = true
	}
	body := make([]byte, p.pageSize*int64(overflow+1))
	if err := readFullAt(p.f, body, int64(id)*p.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return body, nil
}

// checkFreelist checks the ids of the pages that bbolt would write over: they ascend,
// and no page uses them. It comes after the walk.
func (p *pageChecker) checkFreelist(id uint64) error {
	page, err := p.readPage(id)
	if err != nil {
		return err
	}
	if flags := binary.LittleEndian.Uint16(page[8:]); flags != freePage {
		return fmt.Errorf("its kind %#x is out of place", flags)
	}
	count, ids := uint64(binary.LittleEndian.Uint16(page[10:])), page[pageHeader:]
	if count == manyFree {
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("%d ids do not fit", count)
	}
	last := uint64(1)
	for i := range count {
		free := binary.LittleEndian.Uint64(ids[8*i:])
		if free <= last || free >= p.limit || p.seen[free] {
			return fmt.Errorf("page %d cannot be free", free)
		}
		last = free
	}
	return nil
}

// checkElements checks one page in memory, of one of the kinds, or a small bucket
// kept within a leaf. bbolt takes what is no leaf for a branch, and goes down
// by the first element of a branch even if it has none.
func (p *pageChecker) checkElements(page []byte, depth int, kinds ...uint16) error {
	flags := binary.LittleEndian.Uint16(page[8:])
	count := int(binary.LittleEndian.Uint16(page[10:]))
	if !slices.Contains(kinds, flags) || flags == branchPage && count == 0 {
		return fmt.Errorf("its kind %#x with %d elements is out of place", flags, count)
	}
	if pageHeader+count*elementSize > len(page) {
		return fmt.Errorf("%d elements do not fit", count)
	}
	var last []byte
	for i := range count {
		at := pageHeader + i*elementSize
		e := page[at:]
		var pos, keySize, valueSize uint64
		if flags == branchPage { // {pos u32, ksize u32, page u64}
			pos, keySize = u32(e[0:]), u32(e[4:])
		} else { // {flags u32, pos u32, ksize u32, vsize u32}
			pos, keySize, valueSize = u32(e[4:]), u32(e[8:]), u32(e[12:])
		}
		start := uint64(at) + pos
		if pos < elementSize || start+keySize+valueSize > uint64(len(page)) {
			return fmt.Errorf("element %d reaches past the page", i)
		}
		key := page[start : start+keySize]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = key
		if err := p.checkChild(flags, e, page[start+keySize:start+keySize+valueSize], depth); err != nil {
			return err
		}
	}
	return nil
}

// checkChild follows an element to the page or bucket that it names.
func (p *pageChecker) checkChild(flags uint16, e, value []byte, depth int) error {
	if flags == branchPage {
		return p.checkTree(binary.LittleEndian.Uint64(e[8:]), depth+1)
	}
	switch kind := u32(e); {
	case kind == 0:
		return nil
	case kind != bucketLeaf || len(value) < bucketHeader:
		return fmt.Errorf("an element of unknown kind %#x", kind)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return p.checkTree(root, depth+1)
	}
	if value = value[bucketHeader:]; len(value) < pageHeader || depth > maxDepth {
		return fmt.Errorf("a bucket within it is cut off")
	}
	return p.checkElements(value, depth+1, leafPage)
}

func u32(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }
