package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// child writes devices and records from several goroutines until it is killed,
// and names each on stdout once it was told that it is durable.
func child(dir string) int {
	db, err := Open(context.Background(), Options{Dir: dir, Log: discard})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	round := time.Now().UnixNano()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", round, worker, i)
				var err error
				if worker == 0 {
					err = db.AppendRecord(context.Background(), RecordRow{ID: name, Started: time.Now()})
				} else {
					err = db.Commit(context.Background(), location.Batch{Put: []location.Device{locationtest.Device("alice", name)}})
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				fmt.Println(name) // one write, so that lines do not mix
			}
		})
	}
	wg.Wait()
	return 1
}

// What was acknowledged before kill -9 is there after it, every time.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 8 {
		acks := runAndKill(t, dir, time.Duration(20+rand.IntN(150))*time.Millisecond)
		if len(acks) == 0 {
			t.Errorf("round %d acknowledged nothing", round)
		}
		for _, a := range acks {
			acked[a] = true
		}
	}
	db := openIn(t, dir)
	if db.MovedAside() != "" {
		t.Fatal("kill -9 damaged the database")
	}
	for _, d := range load(t, db).Devices {
		delete(acked, d.Key)
	}
	records, err := db.Unended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		delete(acked, r.ID)
	}
	if len(acked) != 0 || len(records) == 0 {
		t.Errorf("%d acknowledged writes are lost: %v", len(acked), acked)
	}
}

// runAndKill lets a child write for that long and returns what it acknowledged.
func runAndKill(t *testing.T, dir string, life time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFolder+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acks []string
	lines := bufio.NewReader(out)
	var kill *time.Timer
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // an unfinished line is no acknowledgement
		}
		if kill == nil {
			kill = time.AfterFunc(life, func() {
				if err := cmd.Process.Kill(); err != nil {
					t.Errorf("kill: %v", err)
				}
			})
		}
		acks = append(acks, strings.TrimSuffix(line, "\n"))
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child was not killed: %v, %s", err, stderr.String())
	}
	return acks
}
