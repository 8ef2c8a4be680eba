package node

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// SpaceBound is how much of a volume must be free: percent of its size, or bytes. The zero value is the default of its
// setting.
type SpaceBound struct {
	Percent float64 // above 0 and below 100, of which at most so many bytes count as the setting says; 0: Bytes count
	Bytes   int64
}

// ParseSpacePercent reads a number and a percent sign. False says that text does not end with one.
func ParseSpacePercent(text string) (b SpaceBound, is bool, err error) {
	number, is := strings.CutSuffix(strings.TrimSpace(text), "%")
	if !is {
		return b, false, nil
	}
	b.Percent, err = strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(b.Percent > 0 && b.Percent < 100) {
		return SpaceBound{}, true, errors.New("a percentage is a number above 0 and below 100, such as 15%")
	}
	return b, true, nil
}

// String writes b as it is given.
func (b SpaceBound) String() string {
	if b.Percent > 0 {
		return strconv.FormatFloat(b.Percent, 'g', -1, 64) + "%"
	}
	switch {
	case b.Bytes > 0 && b.Bytes%bytesPerGiB == 0:
		return fmt.Sprintf("%dGiB", b.Bytes/bytesPerGiB)
	case b.Bytes > 0 && b.Bytes%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", b.Bytes>>20)
	}
	return strconv.FormatInt(b.Bytes, 10)
}

// spaceBounds are below which free space a volume is in each state.
type spaceBounds struct{ low, full, critical uint64 } // bytes

const bytesPerGiB = 1 << 30

// The defaults, and how many bytes of a percentage count at most: on a large volume far less than its 15th part is room
// for many logs and snapshots.
var (
	defaultLow, defaultFull, defaultCritical    = SpaceBound{Percent: 15}, SpaceBound{Percent: 8}, SpaceBound{Percent: 4}
	maxLowBytes, maxFullBytes, maxCriticalBytes = uint64(8 * bytesPerGiB), uint64(4 * bytesPerGiB), uint64(bytesPerGiB)
)

// of is the bound on a volume of so many bytes.
func (b SpaceBound) of(size, most uint64) uint64 {
	if b.Percent > 0 {
		return min(uint64(float64(size)*b.Percent/100), most)
	}
	return uint64(b.Bytes)
}

// spaceBounds are the bounds on a volume of so many bytes, or why there are none. The error names the flag.
func (c Config) spaceBounds(size uint64) (spaceBounds, error) {
	all := []struct {
		flag  string
		bound SpaceBound
		bytes uint64
	}{
		{"--disk-low", c.DiskLow, c.DiskLow.of(size, maxLowBytes)},
		{"--disk-full", c.DiskFull, c.DiskFull.of(size, maxFullBytes)},
		{"--disk-critical", c.DiskCritical, c.DiskCritical.of(size, maxCriticalBytes)},
	}
	for i, b := range all {
		switch {
		case b.bytes >= size && size > 0:
			return spaceBounds{}, fmt.Errorf("%s %s: the volume of the data directory has only %s", b.flag, b.bound, binarySize(size))
		case i > 0 && all[i-1].bytes <= b.bytes && size > 0:
			before := all[i-1]
			return spaceBounds{}, fmt.Errorf("%s %s must be more than %s %s: on the volume of the data directory that is %s and %s",
				before.flag, before.bound, b.flag, b.bound, binarySize(before.bytes), binarySize(b.bytes))
		}
	}
	return spaceBounds{all[0].bytes, all[1].bytes, all[2].bytes}, nil
}

// checkSpaceOrder refuses bounds in a wrong order where that is seen without the volume.
func (c Config) checkSpaceOrder() error {
	all := []struct {
		flag  string
		bound SpaceBound
	}{{"--disk-low", c.DiskLow}, {"--disk-full", c.DiskFull}, {"--disk-critical", c.DiskCritical}}
	for i, b := range all {
		if b.bound.Percent < 0 || b.bound.Percent >= 100 || b.bound.Bytes < 0 {
			return fmt.Errorf("%s %s: a percentage below 100, or bytes", b.flag, b.bound)
		}
		for _, before := range all[:i] {
			samePercent := b.bound.Percent > 0 && before.bound.Percent > 0 && b.bound.Percent >= before.bound.Percent
			sameBytes := b.bound.Bytes > 0 && before.bound.Bytes > 0 && b.bound.Bytes >= before.bound.Bytes
			if samePercent || sameBytes {
				return fmt.Errorf("%s %s must be more than %s %s", before.flag, before.bound, b.flag, b.bound)
			}
		}
	}
	return nil
}

// spaceHysteresis is how much more than a bound must be free, as its part, until the volume is above it again.
const spaceHysteresis = 10

// stateOf is the state of a volume of which it was known before that it was in a state ("" is unknown). free is what may be
// written now, kept what of it is to be the reserve and is not: that is given away for the sake of what is there, and
// does not make the volume less full.
func (b spaceBounds) stateOf(before string, free, kept uint64) string {
	rank := map[string]int{wire.DiskLow: 1, wire.DiskFull: 2, wire.DiskCritical: 3}[before]
	below := func(has, bound uint64, of int) bool {
		if rank >= of {
			bound += bound / spaceHysteresis
		}
		return has < bound
	}
	withoutReserve := free - min(free, kept)
	switch {
	case below(free, b.critical, 3):
		return wire.DiskCritical
	case below(withoutReserve, b.full, 2):
		return wire.DiskFull
	case below(withoutReserve, b.low, 1):
		return wire.DiskLow
	}
	return wire.DiskOK
}

// binarySize writes a number of bytes for people.
func binarySize(n uint64) string {
	if n < bytesPerGiB {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/bytesPerGiB)
}
