package apns

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds the files of keys and certificates, in bytes.
const maxFile = 64 << 10

// origin is where a key or certificate was read, and how the files looked then.
type origin struct {
	file, passwordFile string
	state              string
}

// originOf looks at the files. It comes before reading them: what changes in
// between is seen as a change.
func originOf(file, passwordFile string) origin {
	o := origin{file: file, passwordFile: passwordFile}
	o.state = o.look()
	return o
}

// look describes the files as they are now; it changes when they do.
func (o origin) look() string {
	var b strings.Builder
	for _, file := range []string{o.file, o.passwordFile} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			b.WriteString("none;")
			continue
		}
		fmt.Fprintf(&b, "%d %d %o;", info.ModTime().UnixNano(), info.Size(), info.Mode())
	}
	return b.String()
}

// readPrivate reads a file that nobody but its owner may read. Errors:
// ErrKeyExposed, ErrBadKey for what is no file, those of reading.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: %w", path, ErrBadKey)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: %w", path, mode, ErrKeyExposed)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}
