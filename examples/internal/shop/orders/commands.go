package orders

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/cqrs"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga"
)

// The requests that this service knows, whoever they come from: commands change
// the log, queries read the model that follows it.
type (
	// CreateOrder takes an order, and answers with how it stands.
	CreateOrder struct {
		cqrs.Returns[Taken]
		Purchase
		Wait time.Duration // for the decision
	}
	// UpdateOrder corrects the address of an order that is still pending, if it is
	// at Version.
	UpdateOrder struct {
		cqrs.Returns[Order]
		ID, Address string
		Version     uint64
	}
	// ReturnOrder sends a confirmed order back.
	ReturnOrder struct {
		cqrs.Returns[struct{}]
		ID string
	}
	// GetOrderByID is answered by the read model, once that has seen After.
	GetOrderByID struct {
		cqrs.Returns[Order]
		ID    string
		After eventsource.Position
	}
	// GetUserOrders gives a user's newest orders.
	GetUserOrders struct {
		cqrs.Returns[[]Order]
		User, Limit int
	}
)

// Taken is the answer to CreateOrder.
type Taken struct {
	Order
	Replayed bool `json:"-"` // the order was there already
}

// register makes the handlers known.
func (s *Service) register() {
	cqrs.Handle(s.commands, s.createOrder)
	cqrs.Handle(s.commands, s.updateOrder)
	cqrs.Handle(s.commands, s.returnOrder)
	cqrs.Handle(s.queries, s.getOrder)
	cqrs.Handle(s.queries, func(_ context.Context, q GetUserOrders) (orders []Order, _ error) {
		s.book.View(func(b *book, _ eventsource.Position) { orders = b.of(q.User, q.Limit) })
		return orders, nil
	})
}

const delayed = "Payment is delayed. We will confirm by mail."

// createOrder asks who is ordering, and starts the saga: that is the one point at
// which an order exists or does not. Whatever dies behind it, the order goes on.
func (s *Service) createOrder(ctx context.Context, c CreateOrder) (t Taken, err error) {
	unfinished := 0
	s.book.View(func(b *book, _ eventsource.Position) { unfinished = len(b.pending) })
	// Beyond the bound the shop is behind, and more orders would only make it more so.
	if unfinished >= s.maxUnfinished {
		p := wire.NewProblem(http.StatusServiceUnavailable, "busy", "too many orders are on their way")
		p.RetryAfter, p.GaveUp = time.Second, "orders"
		return t, p
	}
	prices, perr, err := s.ask(ctx, c.Purchase)
	if err != nil {
		return t, err
	}
	if p, ok := errors.AsType[*wire.Problem](perr); ok {
		return t, p // an unknown kind; trouble with products is no reason to refuse an order
	}
	if s.choreographed || s.whole != nil {
		if perr != nil {
			return t, wire.Unavailable("products", perr)
		}
		if s.whole != nil {
			return s.atOnce(ctx, c, prices)
		}
		return s.begin(ctx, c, prices)
	}
	// In this order: Start comes before step 1, so an order that is in the book has had a
	// saga. If that is forgotten, the order is over, also one that a person has given up.
	// Started anew it would find some of its steps done, and undone, and do the others: a
	// customer could be charged for what he was told is not coming.
	known := s.known(c.ID)
	_, _, err = s.sagas.Get(ctx, c.ID)
	t.Replayed = err == nil
	if errors.Is(err, saga.ErrNotFound) && known.ID != "" {
		return Taken{Order: known, Replayed: true}, s.sameAs(ctx, c.Purchase)
	}
	if err := s.sagas.Start(ctx, c.ID, c.Purchase); err != nil {
		if errors.Is(err, saga.ErrConflict) {
			return t, anotherOrder()
		}
		return t, err
	}
	rung, leave := s.bells.listen(c.ID)
	defer leave()
	if perr == nil { // else the coordinator does it, when products is back
		out, err := s.record(ctx, c.Purchase, prices)
		if err != nil && !errors.Is(err, errState) {
			return t, err
		}
		t.Position = out.Last
	}
	healthy := s.payments.Available()
	if c.Wait > 0 && healthy && !t.Replayed {
		s.await(ctx, c.Wait, rung)
	}
	t.Order, err = s.getOrder(ctx, GetOrderByID{ID: c.ID, After: t.Position})
	if t.Status == pending && (c.Wait > 0 || !healthy) {
		t.Message = delayed
	}
	return t, err
}

// known is an order in the read model; the zero Order if it is not there.
func (s *Service) known(id string) (o Order) {
	s.book.View(func(b *book, _ eventsource.Position) {
		if found := b.orders[id]; found != nil {
			o = *found
		}
	})
	return o
}

// sameAs compares a purchase with what the order of this id began with, which is in the
// log: since then its address may have been corrected.
func (s *Service) sameAs(ctx context.Context, p Purchase) error {
	asked, _, err := eventsource.Fold(ctx, s.log, codec, eventsource.Stream(p.ID), eventsource.ReadOptions{Limit: 1}, Order{}, evolve)
	if err != nil {
		return err
	}
	if asked.User != p.User || asked.Address != p.Address || !slices.Equal(quantities(asked.Items), quantities(p.Items)) {
		return anotherOrder()
	}
	return nil
}

func anotherOrder() error { return wire.Invalid("this Idempotency-Key belongs to another order") }

// await returns at the ring, after d, or shortly before the end of ctx: in time to say
// how things stand.
func (s *Service) await(ctx context.Context, d time.Duration, rung <-chan struct{}) {
	if end, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(end)-100*time.Millisecond)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-rung:
	case <-s.node.Stopping():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ask asks users and products at once: an order waits for the slower one, and not for
// both. What products says counts only if the user is known; perr is its trouble. While
// users is out it comes first: the order will be refused, and products is not to work
// for nobody.
func (s *Service) ask(ctx context.Context, p Purchase) (prices map[string]int64, perr, err error) {
	asking, leave := context.WithCancel(ctx)
	defer leave()
	var wg sync.WaitGroup
	price := func() { prices, perr = s.prices(asking, p.Items) }
	atOnce := s.users.Available()
	if atOnce {
		wg.Go(price)
	}
	if err = s.checkUser(ctx, p.User); err != nil {
		leave() // nobody wants to know any more
		wg.Wait()
		return nil, nil, err
	}
	if !atOnce {
		price()
	}
	wg.Wait()
	return prices, perr, nil
}

// checkUser tells an unknown user, which is the client's to mend, from a user
// service that cannot answer, which is not: 404 against 503.
func (s *Service) checkUser(ctx context.Context, id int) error {
	answer, err := s.users.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/users/" + strconv.Itoa(id)})
	switch {
	case err != nil:
		return wire.Unavailable("users", err)
	case answer.Status == http.StatusNotFound:
		return wire.NewProblem(http.StatusNotFound, "user-not-found", "User not found")
	case answer.Status != http.StatusOK: // nothing that users promises; not the client's fault
		return wire.Unavailable("users", &wire.StatusError{Response: answer})
	}
	return nil
}

// prices asks products for all kinds at once; with the switch chatty for each by
// itself, as services do that nobody has looked at the calls of. An unknown kind is a
// *wire.Problem.
func (s *Service) prices(ctx context.Context, items []Item) (map[string]int64, error) {
	if len(items) > 1 && s.node.On("chatty", false) {
		return s.pricesOneByOne(ctx, items)
	}
	skus := make([]string, len(items))
	for i, item := range items {
		skus[i] = url.QueryEscape(item.SKU)
	}
	answer, err := s.products.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/products?ids=" + strings.Join(skus, ",")})
	if err != nil {
		return nil, err
	}
	var found []struct {
		Data struct {
			SKU   string
			Cents int64 `json:"priceCents"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer.Body, &found); err != nil || answer.Status != http.StatusOK {
		return nil, &wire.StatusError{Response: answer}
	}
	prices := map[string]int64{}
	for _, p := range found {
		prices[p.Data.SKU] = p.Data.Cents
	}
	for _, item := range items {
		if _, ok := prices[item.SKU]; !ok {
			return nil, wire.Invalid("there is no "+item.SKU, "items")
		}
	}
	return prices, nil
}

// pricesOneByOne is the anti-pattern: a call for each item, one after the other.
func (s *Service) pricesOneByOne(ctx context.Context, items []Item) (map[string]int64, error) {
	all := map[string]int64{}
	for i := range items {
		one, err := s.prices(ctx, items[i:i+1])
		if err != nil {
			return nil, err
		}
		maps.Copy(all, one)
	}
	return all, nil
}

func (s *Service) updateOrder(ctx context.Context, c UpdateOrder) (Order, error) {
	in := eventsource.Scope{Stream: c.ID, Conditions: []eventsource.Condition{eventsource.AtVersion(c.ID, c.Version)}}
	out, err := decider.Handle(ctx, s.log, codec, in, AddressChanged{c.Address})
	switch {
	case errors.Is(err, errState) && out.State.Status == "":
		return Order{}, notFound()
	case errors.Is(err, errState):
		return Order{}, wire.NewProblem(http.StatusConflict, "state", "the order is "+out.State.Status)
	case errors.Is(err, eventsource.ErrConflict):
		return Order{}, wire.NewProblem(http.StatusPreconditionFailed, "changed", "the order has changed meanwhile")
	case err != nil:
		return Order{}, err
	}
	out.State.Version, out.State.Position = out.Version, out.Last
	return out.State, nil
}

// returnOrder turns the saga of a completed order round: recall, refund, restock.
func (s *Service) returnOrder(ctx context.Context, c ReturnOrder) (struct{}, error) {
	const reason = "returned by the customer"
	err := s.sagas.Reverse(ctx, c.ID, reason)
	if errors.Is(err, saga.ErrConflict) && s.status(c.ID) == confirmed {
		// It says confirmed already, and its last step is just being recorded.
		if _, err = s.sagas.Wait(ctx, c.ID); err == nil {
			err = s.sagas.Reverse(ctx, c.ID, reason)
		}
	}
	switch {
	case errors.Is(err, saga.ErrNotFound) && s.status(c.ID) != "":
		err = s.forgotten("the order is too old to be returned")
	case errors.Is(err, saga.ErrNotFound):
		err = notFound()
	case errors.Is(err, saga.ErrConflict), errors.Is(err, saga.ErrTerminal), errors.Is(err, saga.ErrPastPivot):
		err = wire.NewProblem(http.StatusConflict, "state", "only an order that is confirmed can be returned")
	}
	return struct{}{}, err
}

// status is that of an order in the read model; "" if it is not there.
func (s *Service) status(id string) string { return s.known(id).Status }

func notFound() error {
	return wire.NewProblem(http.StatusNotFound, "order-not-found", "Order not found")
}

// forgotten is the answer to what would need a saga that was kept long enough. Where
// nobody coordinates, there never was one.
func (s *Service) forgotten(detail string) error {
	if s.choreographed || s.whole != nil {
		return wire.NewProblem(http.StatusConflict, "no-saga", "orders in this mode are carried out without a saga, and cannot be returned")
	}
	return wire.NewProblem(http.StatusGone, "forgotten", detail)
}

// getOrder reads the model, which sees an order as soon as step 1 is done. Before
// that it has a saga and no event: it is pending all the same, and was promised.
func (s *Service) getOrder(ctx context.Context, q GetOrderByID) (o Order, err error) {
	if q.After > 0 {
		if err := s.book.WaitFor(ctx, q.After); err != nil {
			return o, wire.Unavailable("the read model", err)
		}
	}
	if o = s.known(q.ID); o.ID != "" {
		return o, nil
	}
	p, _, err := s.sagas.Get(ctx, q.ID)
	if errors.Is(err, saga.ErrNotFound) {
		return o, notFound()
	}
	return Order{ID: q.ID, User: p.User, Items: p.Items, Address: p.Address, Status: pending}, err
}
