package model

import "testing"

// What users meet and random sequences seldom do: each must come to something.
func TestCorners(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   string // of reach
	}{
		// APNs keeps one push for each app: what comes after the VoIP push must not take
		// its place.
		"no network when the call begins, for longer than the second chance": {
			"1: away 0; trunk 0; wait 13; back 0; wait 3; answer 0; pass 3000", "answered"},
		"moved without a sign while it rang, then answered": {
			"1: trunk 0; wait 5; roam 0; wait 2; answer 0; pass 3000", "answered"},
		"moved while it rang, then answered at once": {
			"1: trunk 0; wait 5; move 0; answer 0; pass 3000", "answered"},
		"moved without a sign, answered at once": {
			"1: trunk 0; wait 5; roam 0; answer 0; pass 3000", "answered"},
		"moved without a sign while it rang, answered after a while": {
			"1: trunk 0; wait 5; roam 0; wait 15; answer 0; pass 3000", "answered"},
		"moved without a sign while it rang, and nobody answered": {
			"1: trunk 0; wait 5; roam 0; wait 34; wait 34; pass 3000", "no-answer"},
		"moved without a sign while it rang, then declined": {
			"1: trunk 0; wait 5; roam 0; wait 2; decline 0; pass 3000", "declined"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse(tt.script)
			if err != nil {
				t.Fatal(err)
			}
			res := outcome(t, s, true)
			for _, broken := range res.broken {
				t.Error(broken)
			}
			if res.reached[tt.want] == 0 {
				t.Errorf("came to %v\n%s", res.reached, res.story)
			}
		})
	}
}
