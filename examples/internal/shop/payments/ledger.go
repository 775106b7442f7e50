package payments

import (
	"slices"

	"github.com/keelson-go/keelson/eventsource"
)

// entry is one side of a booking.
type entry struct {
	account string // "bank" (the world outside), "held", "sales", or a wallet
	cents   int64
}

// entries books an event: money never appears, it moves from one account to
// another, so the entries of each event sum to zero.
func entries(e Event) []entry {
	transfer := func(from, to string, cents int64) []entry { return []entry{{from, -cents}, {to, cents}} }
	switch e := e.(type) {
	case MoneyDeposited:
		return transfer("bank", wallet(e.User)[0], e.Cents)
	case MoneyWithdrawn:
		return transfer(wallet(e.User)[0], "bank", e.Cents)
	case PaymentReserved:
		return transfer(wallet(e.User)[0], "held", e.Cents)
	case PaymentReleased:
		return transfer("held", wallet(e.User)[0], e.Cents)
	case PaymentCaptured:
		return transfer("held", "sales", e.Cents)
	case PaymentRefunded:
		return transfer("sales", wallet(e.User)[0], e.Cents)
	}
	return nil
}

// ledger is double entry as a projection. That its accounts agree with what came
// in and went out is then no rule that some code keeps, but one that a reader of
// GET /ledger checks.
type ledger struct {
	accounts   map[string]int64
	negative   map[string]bool // wallets that ever were below zero
	unbalanced int             // events whose entries do not sum to zero
	totals     Ledger          // the sums by type of event
}

// Ledger is a consistent cut: all of it up to Position. The money equation is
// wallets + held + captured - refunded = deposited - withdrawn.
type Ledger struct {
	Position   eventsource.Position `json:"position,string"`
	Deposited  int64                `json:"depositedCents"`
	Withdrawn  int64                `json:"withdrawnCents"`
	Wallets    int64                `json:"walletsCents"` // what can be spent, of all users
	Held       int64                `json:"heldCents"`
	Captured   int64                `json:"capturedCents"`
	Refunded   int64                `json:"refundedCents"`
	Unbalanced int                  `json:"unbalanced"`
	Negative   []string             `json:"negative"`
}

func newLedger() *ledger {
	return &ledger{accounts: map[string]int64{}, negative: map[string]bool{}}
}

// Folded is all of it.
func (l *ledger) Folded() any {
	return []any{l.accounts, l.negative, l.unbalanced, l.totals}
}

func (l *ledger) book(_ eventsource.Recorded, e Event) *ledger {
	sum := int64(0)
	for _, en := range entries(e) {
		sum += en.cents
		l.accounts[en.account] += en.cents
		if en.account != "bank" && l.accounts[en.account] < 0 {
			l.negative[en.account] = true
		}
	}
	if sum != 0 {
		l.unbalanced++
	}
	switch e := e.(type) {
	case MoneyDeposited:
		l.totals.Deposited += e.Cents
	case MoneyWithdrawn:
		l.totals.Withdrawn += e.Cents
	case PaymentCaptured:
		l.totals.Captured += e.Cents
	case PaymentRefunded:
		l.totals.Refunded += e.Cents
	}
	return l
}

func (l *ledger) cut(at eventsource.Position) Ledger {
	out := l.totals
	out.Position, out.Held, out.Unbalanced, out.Negative = at, l.accounts["held"], l.unbalanced, []string{}
	for account, cents := range l.accounts {
		if account != "bank" && account != "held" && account != "sales" {
			out.Wallets += cents
		}
	}
	for account := range l.negative {
		out.Negative = append(out.Negative, account)
	}
	slices.Sort(out.Negative)
	return out
}
