//! Puts changes into a source, each switched off.
//!
//! Everything is inserted around what is there, so that one change may lie within what another one changes.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::change::{Change, Kind};

/// A source with changes in it.
pub struct Woven {
    pub text: String,
    /// Where in it what belongs to a change alone is, and the number of the change.
    pub places: Vec<(Range<usize>, usize)>,
    /// What could not be put in: it needs a program of its own.
    pub left: Vec<usize>,
    /// What does not compile at all.
    pub unviable: Vec<usize>,
}

/// A piece of text for one place. A change owns those that only it compiles.
struct Piece {
    text: String,
    owner: Option<usize>,
}

/// Pieces before and behind what is there.
struct Wrap {
    around: Range<usize>,
    before: Vec<Piece>,
    behind: Vec<Piece>,
}

/// Puts these changes, all of one file, into its source.
pub fn weave(source: &str, changes: &[&Change]) -> syn::Result<Woven> {
    let file = syn::parse_file(source)?;
    let mut weaver = Weaver {
        source,
        changes,
        wraps: Vec::new(),
        taken: Vec::new(),
        unviable: Vec::new(),
        is_const: false,
    };
    weaver.visit_file(&file);
    let is_in = |n: &usize| weaver.taken.contains(n) || weaver.unviable.contains(n);
    let left = changes.iter().map(|change| change.number).filter(|n| !is_in(n)).collect();
    // At one place: what ends comes before what begins, the inner ends first, the outer begins first.
    let mut order = Vec::new();
    for (n, wrap) in weaver.wraps.iter().enumerate() {
        let long = wrap.around.len();
        order.push((wrap.around.start, 1, usize::MAX - long, n));
        order.push((wrap.around.end, 0, long, usize::MAX - n));
    }
    order.sort_unstable();
    let (mut text, mut places, mut copied) = (String::new(), Vec::new(), 0);
    for (at, begins, _, n) in order {
        text.push_str(&source[copied..at]);
        copied = at;
        let pieces = if begins == 1 { &weaver.wraps[n].before } else { &weaver.wraps[usize::MAX - n].behind };
        for piece in pieces {
            let start = text.len();
            text.push_str(&piece.text);
            if let Some(owner) = piece.owner {
                places.push((start..text.len(), owner));
            }
        }
    }
    text.push_str(&source[copied..]);
    Ok(Woven { text, places, left, unviable: weaver.unviable })
}

struct Weaver<'a> {
    source: &'a str,
    changes: &'a [&'a Change],
    wraps: Vec<Wrap>,
    taken: Vec<usize>,
    unviable: Vec<usize>,
    /// Where nothing can be switched when it runs.
    is_const: bool,
}

fn plain(text: impl Into<String>) -> Piece {
    Piece { text: text.into(), owner: None }
}

fn is_on(number: usize) -> String {
    format!("crate::__mutant::is({number})")
}

/// Whether this is a part of the condition of an `if` or `while` that binds names.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl<'a> Weaver<'a> {
    fn of(&self, kind: Kind, span: &Range<usize>) -> Vec<&'a Change> {
        let is_wanted = |change: &&&Change| change.kind == kind && change.span == *span && !self.is_const;
        self.changes.iter().filter(is_wanted).copied().collect()
    }

    /// Each change has an expression to use instead of what is there.
    fn choose(&mut self, around: Range<usize>, others: Vec<(usize, String)>) {
        if others.is_empty() {
            return;
        }
        let mut before = vec![plain("(")];
        for (number, text) in others {
            before.push(plain(format!("if {} {{ ", is_on(number))));
            before.push(Piece { text, owner: Some(number) });
            before.push(plain(" } else "));
            self.taken.push(number);
        }
        before.push(plain("{ "));
        self.wraps.push(Wrap { around, before, behind: vec![plain(" })")] });
    }

    /// A function's block, with values to return at once.
    fn block(&mut self, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let span = first.span().byte_range().start..last.span().byte_range().end;
        // The span of an outer attribute or a trailing macro may be told in another way.
        let found: Vec<_> = self
            .changes
            .iter()
            .filter(|change| change.kind == Kind::Value && change.span.start == span.start && !self.is_const)
            .collect();
        let inner = block.brace_token.span.open().byte_range().end;
        let mut before = Vec::new();
        for change in found {
            before.push(plain(format!(" if {} {{ return ", is_on(change.number))));
            before.push(Piece { text: change.replacement.clone(), owner: Some(change.number) });
            before.push(plain("; }"));
            self.taken.push(change.number);
        }
        self.wraps.push(Wrap { around: inner..inner, before, behind: Vec::new() });
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block, inside: impl FnOnce(&mut Self)) {
        let was = std::mem::replace(&mut self.is_const, signature.constness.is_some());
        // Of an opaque type a function returns only one.
        if !self.source[signature.output.span().byte_range()].contains("impl ") {
            self.block(block);
        }
        inside(self);
        self.is_const = was;
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.function(&item.sig, block, |this| visit::visit_trait_item_fn(this, item)),
            None => visit::visit_trait_item_fn(self, item),
        }
    }

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let (left, right) = (binary.left.span().byte_range(), binary.right.span().byte_range());
        let found = self.of(Kind::Operator, &binary.op.span().byte_range());
        // Of conditions that bind names there is only `&&`.
        let is_bound = binds(&binary.left) || binds(&binary.right);
        if is_bound {
            self.unviable.extend(found.iter().map(|change| change.number));
        } else {
            let around = left.start..right.end;
            let other = |change: &&Change| {
                let (before, after) = (&self.source[left.clone()], &self.source[right.clone()]);
                (change.number, format!("{before} {} {after}", change.replacement))
            };
            let others = found.iter().map(other).collect();
            self.choose(around, others);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let found = self.of(Kind::Operator, &unary.op.span().byte_range());
        let operand = unary.expr.span().byte_range();
        let around = unary.span().byte_range();
        let others =
            found.iter().map(|change| (change.number, self.source[operand.clone()].to_owned())).collect();
        self.choose(around, others);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let found = self
            .changes
            .iter()
            .filter(|change| {
                change.kind == Kind::Arm
                    && change.span.start == arm.span().byte_range().start
                    && !self.is_const
            })
            .map(|change| change.number);
        let off: Vec<_> = found.clone().map(|number| format!("!{}", is_on(number))).collect();
        let guard = arm.guard.as_ref().map(|(_, guard)| guard);
        if !off.is_empty() && guard.is_none_or(|guard| !binds(guard)) {
            self.taken.extend(found);
            let off = off.join(" && ");
            match guard {
                None => {
                    let end = arm.pat.span().byte_range().end;
                    let before = vec![plain(format!(" if {off}"))];
                    self.wraps.push(Wrap { around: end..end, before, behind: Vec::new() });
                }
                Some(guard) => {
                    let (before, behind) = (vec![plain(format!("{off} && ("))], vec![plain(")")]);
                    self.wraps.push(Wrap { around: guard.span().byte_range(), before, behind });
                }
            }
        }
        if let Some(guard) = guard {
            let around = guard.span().byte_range();
            let found = self.of(Kind::Guard, &around);
            if !binds(guard) {
                let others = found.iter().map(|change| (change.number, change.replacement.clone())).collect();
                self.choose(around, others);
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        let around = made.span().byte_range();
        let mut others = Vec::new();
        for field in &made.fields {
            let start = field.span().byte_range().start;
            let is_this = |change: &&&Change| {
                change.kind == Kind::Field && change.span.start == start && !self.is_const
            };
            for change in self.changes.iter().filter(is_this) {
                // With the comma behind it: there is a base.
                let mut without = self.source[around.clone()].to_owned();
                without.replace_range(start - around.start..change.span.end - around.start, "");
                others.push((change.number, without));
            }
        }
        self.choose(around, others);
        visit::visit_expr_struct(self, made);
    }
}
