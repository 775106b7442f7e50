package check

import (
	"fmt"
	"time"
)

// ledger is what the logs of four services tell of each order. None of them knows
// the whole; that it adds up is what their saga is for.
type ledger struct {
	orders map[string]*order
	ended  []string // in order of their end, for forgetting
	count  int      // of orders that have ended, since the start
	broken string   // the first order that did what must never be, in words
}

// keepEnded is how many ended orders are remembered.
const keepEnded = 5000

// order counts the events about one order.
type order struct {
	created                     bool
	status                      string // "", confirmed, rejected or returned
	held, captured, refunded    int    // money: reserved less released, and so on
	reserved, shipped, returned int    // stock
	sent, recalled              int    // shipments
	last                        time.Time
}

func newLedger() *ledger { return &ledger{orders: map[string]*order{}} }

// apply takes one event of a service about the order that its stream is named
// after. Streams of other things, such as wallets, make records that never end and
// are therefore not made: only the types below count.
func (l *ledger) apply(service string, e event, now time.Time) {
	change, ok := changes[service+" "+e.Type]
	if !ok {
		return
	}
	o := l.orders[e.Stream]
	if o == nil {
		o = &order{}
		l.orders[e.Stream] = o
	}
	before := o.status
	change(o)
	o.last = now
	// Never, not even for a moment: the rest is asked for when the order has settled.
	if (o.captured > 1 || o.refunded > o.captured || o.sent-o.recalled > 1) && l.broken == "" {
		l.broken = fmt.Sprintf("order %s: %d captures, %d refunds, %d shipments", e.Stream, o.captured, o.refunded, o.sent-o.recalled)
	}
	if before == "" && o.status != "" {
		l.count++
		l.ended = append(l.ended, e.Stream)
	}
	l.forget()
}

// forget drops the orders that ended longest ago. One that is not in order stays:
// it is looked at again, and says so.
func (l *ledger) forget() {
	if len(l.ended) <= keepEnded {
		return
	}
	id := l.ended[0]
	l.ended = l.ended[1:]
	if o := l.orders[id]; o != nil && o.complaint() == "" {
		delete(l.orders, id)
	}
}

// changes are what an event does to the count of its order.
var changes = map[string]func(*order){
	"orders OrderCreated":       func(o *order) { o.created = true },
	"orders OrderConfirmed":     func(o *order) { o.status = "confirmed" },
	"orders OrderRejected":      func(o *order) { o.status = "rejected" },
	"orders OrderReturned":      func(o *order) { o.status = "returned" },
	"payments PaymentReserved":  func(o *order) { o.held++ },
	"payments PaymentReleased":  func(o *order) { o.held-- },
	"payments PaymentCaptured":  func(o *order) { o.held--; o.captured++ },
	"payments PaymentRefunded":  func(o *order) { o.refunded++ },
	"inventory StockReserved":   func(o *order) { o.reserved++ },
	"inventory StockReleased":   func(o *order) { o.reserved-- },
	"inventory StockConfirmed":  func(o *order) { o.reserved--; o.shipped++ },
	"inventory StockReturned":   func(o *order) { o.shipped--; o.returned++ },
	"shipping ShipmentCreated":  func(o *order) { o.sent++ },
	"shipping ShipmentRecalled": func(o *order) { o.recalled++ },
}

// complaint is what is wrong with an order that has ended; "" if nothing is.
func (o *order) complaint() string {
	onTheWay := o.sent - o.recalled
	paid := o.captured - o.refunded
	switch o.status {
	case "confirmed":
		if paid != 1 || onTheWay != 1 || o.held != 0 || o.reserved != 0 || o.shipped < 1 {
			return fmt.Sprintf("confirmed with %d paid, %d shipments, %d held, %d reserved, %d shipped", paid, onTheWay, o.held, o.reserved, o.shipped)
		}
	case "rejected", "returned":
		if paid != 0 || onTheWay != 0 || o.held != 0 || o.reserved != 0 || o.shipped != 0 {
			return fmt.Sprintf("%s with %d paid, %d shipments, %d held, %d reserved, %d shipped", o.status, paid, onTheWay, o.held, o.reserved, o.shipped)
		}
	}
	return ""
}

// checkOrders judges the orders that have settled: ended, and nothing heard of
// them for a while, since four logs are read one after the other.
func (c *Checker) checkOrders(stuck int, err error) verdict {
	w := c.config.Witness()
	switch {
	case c.ledger.broken != "":
		return holds(false, "%s", c.ledger.broken)
	case w.TwoForOne > 0:
		return holds(false, "%d keys with two orders, the last: %s", w.TwoForOne, w.LastDoubled)
	case err != nil:
		return verdict{err: err}
	}
	if !c.calm() {
		return holds(true, "%d ended; settled ones are judged when no fault has been in force for %v", c.ledger.count, settle)
	}
	for _, id := range sortedKeys(c.ledger.orders) {
		o := c.ledger.orders[id]
		if text := o.complaint(); text != "" && (c.final || time.Since(o.last) > settle) {
			return holds(false, "order %s is %s", id, text)
		}
		if c.final && o.status == "" && stuck == 0 {
			return holds(false, "order %s has come to no end", id)
		}
	}
	if id := c.missing(w.Promised); id != "" {
		return holds(false, "order %s was promised and does not exist", id)
	}
	return holds(true, "%d ended, %d known", c.ledger.count, len(c.ledger.orders))
}

// missing is an order that a client was promised and that no log has; "" if there
// is none. The newest are left out: their events may not have been read yet.
func (c *Checker) missing(promised []string) string {
	if len(c.ledger.ended) >= keepEnded { // some that exist have been forgotten
		return ""
	}
	const newest = 200
	for _, id := range promised[:max(0, len(promised)-newest)] {
		if c.ledger.orders[id] == nil {
			return id
		}
	}
	return ""
}
