package capture

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// How files end: a capture, and one that is still being written.
const (
	finished   = ".pcapng"
	unfinished = ".part"
)

// disk counts the files and what they take together.
type disk struct {
	dir string
	max int64

	// most is what recordings may take together: where most of them are thrown away,
	// those must not push out what was kept.
	most int64

	mu    sync.Mutex
	used  int64    // by files, and promised to recordings
	open  int64    // the latter
	files []stored // the oldest first
}

// stored is a finished file.
type stored struct {
	id   string
	size int64
	at   time.Time // the end of its call
}

// openDisk reads the folder, which may not be there while nothing is captured, and
// removes unfinished files.
func openDisk(cfg Config) (*disk, error) {
	d := &disk{dir: cfg.Dir, max: cfg.MaxBytes, most: cfg.MaxBytes}
	if cfg.Calls == Failed {
		d.most /= 4
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil && !(cfg.Calls == Off && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	for _, e := range entries {
		if _, ours := idOf(e.Name(), unfinished); ours {
			if err := os.Remove(filepath.Join(d.dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		id, ours := idOf(e.Name(), finished)
		if !ours {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		d.files = append(d.files, stored{id, info.Size(), info.ModTime()})
		d.used += info.Size()
	}
	slices.SortFunc(d.files, func(a, b stored) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	return d, d.shrink(0)
}

// idOf is the call of a file with this ending; false if the name is not one of ours.
func idOf(name, ending string) (string, bool) {
	id, ok := strings.CutSuffix(name, ending)
	known, err := uuid.Parse(id)
	return id, ok && err == nil && known.String() == id
}

func (d *disk) path(id string) string { return filepath.Join(d.dir, id+finished) }
func (d *disk) part(id string) string { return filepath.Join(d.dir, id+unfinished) }

// room promises n bytes to a recording, for which the oldest files go; false if there
// are none left.
func (d *disk) room(n int64) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open+n > d.most {
		return false, nil
	}
	if err := d.shrink(n); err != nil || d.used+n > d.max {
		return false, err
	}
	d.used += n
	d.open += n
	return true, nil
}

// shrink removes the oldest files until n more bytes fit. mu is held, or nobody else
// knows d.
func (d *disk) shrink(n int64) error {
	for d.used+n > d.max && len(d.files) > 0 {
		if err := d.removeFirst(); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) removeFirst() error {
	f := d.files[0]
	if err := os.Remove(d.path(f.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.files = d.files[1:]
	d.used -= f.size
	return nil
}

// expire removes what was finished before a time.
func (d *disk) expire(before time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.files) > 0 && d.files[0].at.Before(before) {
		if err := d.removeFirst(); err != nil {
			return err
		}
	}
	return nil
}

// keep makes a capture of a recording's file, of which size bytes were written and
// promised bytes were promised.
func (d *disk) keep(f stored, promised int64) error {
	if err := errors.Join(os.Chtimes(d.part(f.id), f.at, f.at), os.Rename(d.part(f.id), d.path(f.id))); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = append(d.files, f)
	d.used += f.size - promised
	d.open -= promised
	return nil
}

// drop removes a recording's file, if it has one.
func (d *disk) drop(id string, promised int64) error {
	d.mu.Lock()
	d.used -= promised
	d.open -= promised
	d.mu.Unlock()
	if err := os.Remove(d.part(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) total() (bytes int64, files int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used, len(d.files)
}
