package wire

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxBody bounds a request's body; above it the answer is 413.
const maxBody = 64 << 10

// bodyLimit is how long a client may take to send its body. The deadline of the
// request's context does not end a Read, and Server.ReadTimeout would go on
// counting while the request is answered; without a limit of its own a client
// that sends a byte an hour holds a goroutine and a connection for as long.
const bodyLimit = 3 * time.Second

// ReadBody reads the whole body, at most 64 KiB of it, within three seconds.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyLimit)) // a recorder of a test has none, and no slow client either
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.Header().Set("Connection", "close") // the rest of the body would be taken for the next request
		return nil, NewProblem(http.StatusRequestTimeout, "slow-body", "the body must arrive within "+bodyLimit.String())
	}
	_ = rc.SetReadDeadline(time.Time{})
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
	// Twice decoded, since DisallowUnknownFields does not do: it names one member
	// at most, and takes "ID" for "id", as encoding/json compares without case.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return NewProblem(http.StatusBadRequest, "malformed", "the body must be a JSON object")
	}
	// In order of name, since that of a map is another one every time, and all of
	// them: a client that mends one should not hear of the next.
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(allowed, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 {
		return Invalid("not accepted: "+strings.Join(refused, ", ")+"; allowed: "+strings.Join(allowed, ", "), refused...)
	}
	if err := json.Unmarshal(body, v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Invalid(e.Field+" must be a "+kind(e.Type)+", not "+e.Value, e.Field)
		}
		return NewProblem(http.StatusBadRequest, "malformed", "the body must be a JSON object")
	}
	return nil
}

// kind is a Go type in the words of JSON: a client need not know what an int is.
func kind(t reflect.Type) string {
	if t.Kind() == reflect.Int {
		return "whole number in range"
	}
	return t.Kind().String()
}

// Invalid is a 422 that blames the named fields.
func Invalid(detail string, fields ...string) *Problem {
	p := NewProblem(http.StatusUnprocessableEntity, "invalid", detail)
	p.Fields = fields
	return p
}
