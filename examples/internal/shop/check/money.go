package check

import (
	"context"
	"fmt"
)

// accounts is GET /ledger of payments: the double entry of all wallets as of one
// position.
type accounts struct {
	Position   string   `json:"position"`
	Deposited  int64    `json:"depositedCents"`
	Withdrawn  int64    `json:"withdrawnCents"`
	Wallets    int64    `json:"walletsCents"`
	Held       int64    `json:"heldCents"`
	Captured   int64    `json:"capturedCents"`
	Refunded   int64    `json:"refundedCents"`
	Unbalanced int      `json:"unbalanced"`
	Negative   []string `json:"negative"`
}

func (c *Checker) checkMoney(ctx context.Context) verdict {
	var a accounts
	if err := c.read(ctx, "payments", "/ledger", &a); err != nil {
		return verdict{err: err}
	}
	left, right := a.Wallets+a.Held+a.Captured-a.Refunded, a.Deposited-a.Withdrawn
	switch {
	case a.Position == "": // a document without a position is none, and 0 = 0 would look fine
		return verdict{err: fmt.Errorf("payments/ledger names no position")}
	case left != right:
		return holds(false, "%s ≠ %s at position %s", cents(left), cents(right), a.Position)
	case a.Unbalanced > 0:
		return holds(false, "%d entry pairs do not add up to 0", a.Unbalanced)
	case len(a.Negative) > 0:
		return holds(false, "below 0: %v", a.Negative)
	}
	return holds(true, "%s = %s at position %s", cents(left), cents(right), a.Position)
}

func cents(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "−", -n
	}
	return fmt.Sprintf("%s%d.%02d", sign, n/100, n%100)
}

// shelf is one article of GET /stock of inventory.
type shelf struct {
	Initial  int64 `json:"initial"`
	Added    int64 `json:"added"`
	OnHand   int64 `json:"onHand"`
	Reserved int64 `json:"reserved"`
	Shipped  int64 `json:"shipped"`
}

func (c *Checker) checkStock(ctx context.Context) verdict {
	var s struct {
		Position string           `json:"position"`
		SKUs     map[string]shelf `json:"skus"`
	}
	if err := c.read(ctx, "inventory", "/stock", &s); err != nil {
		return verdict{err: err}
	}
	if len(s.SKUs) == 0 {
		return verdict{err: fmt.Errorf("inventory/stock has no articles")}
	}
	var have, want int64
	for _, sku := range sortedKeys(s.SKUs) {
		a := s.SKUs[sku]
		left, right := a.OnHand+a.Reserved+a.Shipped, a.Initial+a.Added
		have, want = have+left, want+right
		if left != right {
			return holds(false, "%s: %d ≠ %d at position %s", sku, left, right, s.Position)
		}
		if min(a.OnHand, a.Reserved, a.Shipped) < 0 {
			return holds(false, "%s is below 0: on hand %d, reserved %d, shipped %d", sku, a.OnHand, a.Reserved, a.Shipped)
		}
	}
	return holds(true, "%d = %d over %d articles", have, want, len(s.SKUs))
}
