//! Sessions, subscriptions, routing, retained messages, queues, wills, expiry. Pure.
