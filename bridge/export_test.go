package bridge

// IDs names the calls that are not over.
func (b *Bridge) IDs() []string {
	var out []string
	for _, c := range b.all() {
		out = append(out, c.id)
	}
	return out
}
