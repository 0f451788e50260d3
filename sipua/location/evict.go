package location

import (
	"cmp"
	"slices"
	"time"
)

// victim is a Contact that makes room, or with contact "" a whole device.
type victim struct {
	key     string
	contact string
	regID   int
}

// evict chooses what goes so that an AOR has at most limit contacts (0: no
// limit), a sleeping device without a binding counting as one. In this order,
// the oldest first: contacts without a flow that are not their device's
// newest; devices that neither have a flow nor can be woken; sleeping devices;
// further contacts with a flow; devices with a flow. The device of key keep
// stays, with its newest contact.
func (r Rules) evict(devices []Device, keep string, limit int, now time.Time) []victim {
	if limit <= 0 {
		return nil
	}
	type candidate struct {
		victim
		class int
		seen  time.Time
	}
	var all []candidate
	count := 0
	for _, d := range devices {
		count += max(1, len(d.Bindings))
		_, awake := d.Flow()
		for i, b := range d.Bindings {
			if i == 0 {
				continue
			}
			class := 0
			if b.Flow != 0 {
				class = 3
			}
			all = append(all, candidate{victim{d.Key, b.Contact, b.RegID}, class, b.Registered})
		}
		if d.Key == keep {
			continue
		}
		class := 1
		switch {
		case awake:
			class = 4
		case r.Wakeable(d, now):
			class = 2
		}
		all = append(all, candidate{victim{key: d.Key}, class, d.LastSeen})
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.seen.Compare(b.seen), cmp.Compare(a.key, b.key))
	})
	var out []victim
	gone := map[string]int{} // contacts chosen so far, by device
	for _, c := range all {
		if count <= limit {
			break
		}
		if c.contact == "" {
			i := slices.IndexFunc(devices, func(d Device) bool { return d.Key == c.key })
			// Contacts of it that were chosen before have been counted.
			count -= max(1, len(devices[i].Bindings)) - gone[c.key]
			out = slices.DeleteFunc(out, func(v victim) bool { return v.key == c.key })
		} else {
			if slices.Contains(out, victim{key: c.key}) {
				continue
			}
			gone[c.key]++
			count--
		}
		out = append(out, c.victim)
	}
	return out
}

// is says whether b is the contact that goes.
func (v victim) is(b Binding) bool { return b.Contact == v.contact && b.RegID == v.regID }
