package wire

import "time"

// Rest is how long whoever is at rest sleeps between two signs of life.
const Rest = 4 * time.Second

// Beat is the time until the next sign of life. All of a machine's come at the same
// moments, whole multiples of Rest on its clock: to wake a machine costs more than what it
// does then, and a shop of eleven services at rest wakes once for all of them.
func Beat() time.Duration {
	d := Rest - time.Duration(time.Now().UnixNano()%int64(Rest))
	if d < Rest/8 { // this moment's has been given, and the clock may say that it is yet to come
		d += Rest
	}
	return d
}
