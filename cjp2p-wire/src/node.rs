//! One socket's conversations.
