package rules

// toneInstead makes the caller's first 180 a 183 with an SDP of our own and the
// ringback tone, while somebody is being woken and nobody holds an offer yet. What a
// device was offered before may be more than the tone's SDP promises the caller
// (DESIGN s5), so once an INVITE is out there is no tone; after it, INVITEs offer
// what that SDP has and no more. A caller that heard a 180 makes its own tone.
func (m *machine) toneInstead() {
	at := m.first - 1
	m.first = 0
	if at < 0 || !m.s.Terms.Tone || m.s.early {
		return
	}
	wakes := false
	for i := range m.s.Attempts {
		a := &m.s.Attempts[i]
		if a.standing() {
			return
		}
		wakes = wakes || a.Phase == pushing || a.Phase == pushed
	}
	if !wakes {
		return
	}
	m.s.early, m.s.tone = true, true
	m.acts[at].Kind = ActTone
}

// mayHear says that the caller may hear a callee before it answers: only one, and in
// place of the tone if that plays.
func (m *machine) mayHear() bool { return (!m.s.early || m.s.tone) && m.s.alive() == 1 }
