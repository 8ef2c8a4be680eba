package zmtp

import (
	"bufio"
	"io"
)

// ReadAll reads messages from r until an error, as a connection would.
func ReadAll(r io.Reader, maxBytes, maxFrames int) (messages [][][]byte, err error) {
	in := reader{r: bufio.NewReaderSize(r, 16<<10)}
	for {
		m, err := in.message(maxBytes, maxFrames, func([]byte) ([][]byte, error) { return nil, nil })
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}
