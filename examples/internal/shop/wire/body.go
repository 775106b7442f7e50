package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// maxBody bounds a request's body; above it the answer is 413.
const maxBody = 64 << 10

// ReadBody reads the whole body, at most 64 KiB of it.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, NewProblem(http.StatusRequestEntityTooLarge, "too-large", "the body may have 64 KiB at most")
	}
	if err != nil {
		return nil, NewProblem(http.StatusBadRequest, "unreadable", "the body could not be read")
	}
	return body, nil
}

// Decode reads a JSON object into v, a pointer to a struct whose JSON members
// are given in allowed. Any other member is a 422 that names it: a client that
// sends an id believes it can choose one, and must hear that it cannot.
func Decode(w http.ResponseWriter, r *http.Request, v any, allowed ...string) error {
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return NewProblem(http.StatusBadRequest, "malformed", "the body must be a JSON object")
	}
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(allowed, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 {
		return Invalid("not accepted: "+strings.Join(refused, ", ")+"; allowed: "+strings.Join(allowed, ", "), refused...)
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Invalid(e.Field+" must be of type "+e.Type.String()+", not "+e.Value, e.Field)
		}
		return NewProblem(http.StatusBadRequest, "malformed", "the body must be a JSON object")
	}
	return nil
}

// Invalid is a 422 that blames the named fields.
func Invalid(detail string, fields ...string) *Problem {
	p := NewProblem(http.StatusUnprocessableEntity, "invalid", detail)
	p.Fields = fields
	return p
}
