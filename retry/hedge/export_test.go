package hedge

import "time"

// BucketEdges gives the bucket that counts d.
func BucketEdges(d time.Duration) (low, high time.Duration) {
	b := bucket(d)
	if b > 0 {
		low = upperEdge(b - 1)
	} else {
		low = time.Microsecond
	}
	return low, upperEdge(b)
}
