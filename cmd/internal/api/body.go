package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// maxBody bounds a request's body, in bytes: ten times what any of them needs.
const maxBody = 16 << 10

// readJSON reads a request's body, one JSON object, into the struct that into
// points to. What stands there and into does not know is a fault that names it:
// a token under a misspelt name would be a phone that never rings.
func readJSON(w http.ResponseWriter, r *http.Request, into any) *Problem {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &Problem{Status: http.StatusUnsupportedMediaType, Title: "The body is not declared as JSON",
			Fix: "Send the header 'Content-Type: application/json'."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Title: "The body is too large",
			Fix: fmt.Sprintf("Send at most %d bytes.", maxBody)}
	case err != nil:
		return &Problem{Status: http.StatusBadRequest, Title: "The body could not be read", Fix: "Send the request again."}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return &Problem{Status: http.StatusBadRequest, Title: "The body is not a JSON object",
			Fix: "Send one object with these members: " + strings.Join(fields(into), ", ") + "."}
	}
	known := fields(into)
	unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(members)), func(name string) bool { return slices.Contains(known, name) })
	if len(unknown) > 0 {
		return &Problem{Status: http.StatusBadRequest, Title: "Unknown members", Detail: "unknown: " + quoteAll(unknown),
			Fix: "These are known: " + strings.Join(known, ", ") + "."}
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(body, into); errors.As(err, &wrong) {
		return &Problem{Status: http.StatusBadRequest, Title: "A member has the wrong type",
			Detail: fmt.Sprintf("%s is a %s", wrong.Field, wrong.Value), Fix: fmt.Sprintf("Send a %s there.", wrong.Type)}
	} else if err != nil {
		return &Problem{Status: http.StatusBadRequest, Title: "The body cannot be understood", Fix: "See /openapi.json."}
	}
	return nil
}

// fields are the JSON names of a struct's fields, in its order.
func fields(of any) []string {
	t := reflect.TypeOf(of).Elem()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// maxShown bounds how much of a stranger's text an answer repeats, in bytes.
const maxShown = 100

// quoteAll lists names from the network.
func quoteAll(names []string) string {
	quoted := make([]string, 0, len(names))
	for _, n := range names {
		quoted = append(quoted, fmt.Sprintf("%q", n[:min(len(n), maxShown)]))
	}
	return strings.Join(quoted, ", ")
}
