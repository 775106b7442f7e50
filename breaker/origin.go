package breaker

import (
	"reflect"
	"sync"

	"github.com/keelson-go/keelson/breaker/internal/permit"
)

// origin is the issuer of a permit and the time limit that goes with it. The
// gates of this module each have one that they hand out with every permit.
type origin = permit.Origin[Outcome]

// recent holds the origins of the latest issuers from elsewhere, which do not
// know what an origin is. Origins never change, so a permit may point at one
// for as long as it likes, whoever else does: that recent forgets one costs an
// allocation and no more.
type recent struct {
	origins [4]*origin
	next    int // to be replaced
}

// recents has one recent per processor, as a sync.Pool does.
var recents = sync.Pool{New: func() any { return new(recent) }}

// originOf returns an origin for i.
func originOf(i Issuer) *origin {
	if i == nil {
		return nil
	}
	if reflect.TypeOf(i).Kind() != reflect.Pointer {
		return &origin{Issuer: i} // == may panic on others
	}
	r := recents.Get().(*recent)
	o := r.find(i)
	recents.Put(r)
	return o
}

// find returns the origin for i, which is a new one in the place of the oldest
// if i has none.
func (r *recent) find(i Issuer) *origin {
	for _, o := range r.origins {
		if o != nil && o.Issuer == i {
			return o
		}
	}
	o := &origin{Issuer: i}
	r.origins[r.next] = o
	r.next = (r.next + 1) % len(r.origins)
	return o
}
