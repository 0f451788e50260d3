package push

import (
	"fmt"
	"strconv"
)

// Data writes n as flat text pairs, for services that carry nothing else: the
// fields of Wakebridge's payload without "aps", numbers in decimal, video "true"
// or "false", and "from" as "from_uri", since FCM keeps the key "from" to itself. A Cancel
// says no more than which call it ends, a Background push whom it asks to register. The
// pairs written as JSON take at most 4 KiB; what gives way to that is as in Payload. Errors:
// ErrUnknownKind, ErrPayloadTooLarge.
func Data(n Notification) (map[string]string, error) {
	var pairs map[string]string
	var write func(Notification) map[string]string
	switch n.Kind {
	case VoIP:
		write = callData
	case Cancel:
		write = cancelData
	case Background:
		write = refreshData
	default:
		return nil, fmt.Errorf("data of %q: %w", n.Kind, ErrUnknownKind)
	}
	_, err := fitted(n, maxPayload, func(n Notification) ([]byte, error) {
		pairs = write(n)
		return encode(pairs)
	})
	if err != nil {
		return nil, err
	}
	return pairs, nil
}

func callData(n Notification) map[string]string {
	return map[string]string{
		"v": "1", "type": "call", "uuid": n.UUID, "call_id": n.CallID,
		"handle": n.Handle, "handle_type": n.HandleType, "name": n.Name, "video": strconv.FormatBool(n.Video),
		"to": n.To, "from_uri": n.From, "sent_at": decimal(millis(n.SentAt)), "expires_at": decimal(millis(n.ExpiresAt)),
	}
}

func cancelData(n Notification) map[string]string {
	return map[string]string{
		"v": "1", "type": "cancel", "uuid": n.UUID, "call_id": n.CallID,
		"sent_at": decimal(millis(n.SentAt)), "expires_at": decimal(millis(n.ExpiresAt)),
	}
}

func refreshData(n Notification) map[string]string {
	return map[string]string{"v": "1", "type": typeRefresh, "to": n.To}
}

func decimal(i int64) string { return strconv.FormatInt(i, 10) }
