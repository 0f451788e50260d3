package media_test

import (
	"errors"
	"testing"
	"time"

	"wakebridge/bridge/media"
)

// What is inserted on one side is heard by its own far end alone, in place of the
// other's voice.
func TestInsert(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.side(1), w.side(1)
		x, y := w.far(pbx, 12000), w.far(router, 4000)
		a.SetRemote(0, media.Remote{RTP: x.addr()})
		b.SetRemote(0, media.Remote{RTP: y.addr()})
		media.Join(a, b)
		if _, err := a.Insert(1, media.Insert{}); !errors.Is(err, media.ErrNoStream) {
			w.Errorf("error %v", err)
		}
		in, err := a.Insert(0, media.Insert{Hold: true})
		if err != nil {
			w.Fatal(err)
		}
		for i := range uint32(5) {
			in.Send(media.Frame{Timestamp: 160 * i, Payload: []byte("beep")})
			y.say(b.Ports()[0], "hello")
			x.say(a.Ports()[0], "who is there")
			time.Sleep(frame)
		}
		in.End()
		if n := x.hears("beep"); n != 5 {
			w.Errorf("%d beeps", n)
		}
		if n := y.hears("who is there"); n != 5 {
			w.Errorf("the other side heard %d", n)
		}
		y.talk(b.Ports()[0], "hello", 5)
		if n := x.hears("hello"); n != 5 {
			w.Errorf("%d packets after the insertion", n)
		}
		if s := a.Stats()[0]; s.Inserted != 5 || s.Sent.Packets != 10 || b.Stats()[0].Rejected[media.Held] != 5 {
			w.Errorf("stats %+v and %+v", s, b.Stats()[0])
		}
		a.Close()
		if in, err := a.Insert(0, media.Insert{}); err != nil || in.Send(media.Frame{}) {
			w.Errorf("inserted after Close, error %v", err)
		}
	})
}
