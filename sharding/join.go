package sharding

import (
	"errors"
	"fmt"
	"slices"
)

// join sorts ranges and checks that they meet end to end. All that is wrong is
// in the error.
func join[K any](compare func(a, b K) int, ranges []Range[K]) ([]Range[K], error) {
	if len(ranges) == 0 {
		return nil, errors.New("sharding: there are no ranges")
	}
	var errs []error
	sorted := make([]Range[K], 0, len(ranges))
	for _, r := range ranges {
		if err := checkRange(compare, r); err != nil {
			errs = append(errs, fmt.Errorf("sharding: range %v: %w", r, err))
			continue
		}
		sorted = append(sorted, r)
	}
	slices.SortStableFunc(sorted, func(a, b Range[K]) int { return compareFrom(compare, a.From, b.From) })
	errs = append(errs, seams(compare, sorted)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return sorted, nil
}

// seams compares each range with the one before it that reaches furthest, so a
// long range hides neither what lies inside it nor what follows.
func seams[K any](compare func(a, b K) int, sorted []Range[K]) (errs []error) {
	for i, far := 1, 0; i < len(sorted); i++ {
		prev, r := sorted[far], sorted[i]
		switch c := compareSeam(compare, prev.To, r.From); {
		case c < 0:
			hole := Range[K]{From: prev.To, To: r.From}
			errs = append(errs, fmt.Errorf("%w: nobody owns %s between %v and %v", ErrGap, hole.keys(), prev, r))
		case c > 0:
			both := Range[K]{From: r.From, To: prev.To}
			if compareTo(compare, r.To, prev.To) < 0 {
				both.To = r.To
			}
			errs = append(errs, fmt.Errorf("%w: %v and %v both own %s", ErrOverlap, prev, r, both.keys()))
		}
		if compareTo(compare, r.To, prev.To) > 0 {
			far = i
		}
	}
	return errs
}

// checkRange returns what is wrong with one range, without a prefix.
func checkRange[K any](compare func(a, b K) int, r Range[K]) error {
	if err := r.Owner.check(); err != nil {
		return err
	}
	for _, b := range []*K{r.From, r.To} {
		if b != nil && isNaN(*b) {
			return errors.New("a bound is NaN")
		}
	}
	if r.From != nil && r.To != nil && compare(*r.From, *r.To) >= 0 {
		return errors.New("it is empty: From must be below To")
	}
	return nil
}

// compareFrom orders lower bounds; nil is below all.
func compareFrom[K any](compare func(a, b K) int, a, b *K) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	default:
		return compare(*a, *b)
	}
}

// compareTo orders upper bounds; nil is above all.
func compareTo[K any](compare func(a, b K) int, a, b *K) int {
	if a == nil || b == nil {
		return -compareFrom(compare, a, b)
	}
	return compare(*a, *b)
}

// compareSeam orders where one range ends and where the next begins.
func compareSeam[K any](compare func(a, b K) int, to, from *K) int {
	if to == nil || from == nil {
		return 1 // endless, and so beyond any other's begin
	}
	return compare(*to, *from)
}
