//! Finds imports that run in a circle: between the modules of a crate, and between its folders.
//!
//! [`Crate::read`] follows the `mod` declarations from a crate's root file and reads the imports of each module; [`circles`]
//! finds the circles. A declaration is no import. Modules and imports that are for tests alone do not count.

mod circles;
mod modules;
mod source;

pub use circles::circles;
pub use modules::Crate;

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(modules: &[(&str, &str)]) -> Crate {
        let mut made_up = Crate::default();
        for (name, text) in modules {
            made_up.add(name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(), text);
        }
        made_up
    }

    fn found(modules: &[(&str, &str)]) -> Vec<String> {
        circles(&made_up(modules))
    }

    #[test]
    fn imports_that_lead_on_and_end_are_no_circle() {
        let tree = [
            ("", "mod a; mod b; pub mod c; pub use a::A;"),
            ("a", "use crate::b::B; use super::c; pub struct A;"),
            ("b", "use std::fmt; use super::c::{self, C};"),
            (
                "c",
                "/* use crate::a; */ // use crate::a;\nconst TEXT: &str = \"use crate::a;\"; pub struct C;",
            ),
        ];
        assert_eq!(found(&tree), [""; 0]);
    }

    #[test]
    fn two_modules_that_import_each_other_are_a_circle_however_they_say_it() {
        for back in [
            "use crate::a;",
            "use crate::a::A;",
            "use super::{a::A};",
            "use super::{\n    a,\n};",
            "pub(crate) use crate::a::{A as Other};",
            "fn f() { use super::a::A; }",
            "fn f() { crate::a::f() }",
            // The root has it from there.
            "use crate::A;",
            "use super::*; fn f() -> super::A {}",
        ] {
            let tree = [("", "mod a; mod b; pub use a::A;"), ("a", "use crate::b;"), ("b", back)];
            let circles = found(&tree);
            assert_eq!(circles.len(), 1, "{back}: {circles:?}");
            assert!(circles[0].starts_with("a -> b (line 1) -> a (line "), "{}", circles[0]);
        }
    }

    #[test]
    fn a_longer_circle_is_named_from_end_to_end() {
        let tree = [
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b;"),
            ("b", "\nuse crate::c;"),
            ("c", "use crate::a; use crate::d;"),
            ("d", ""),
        ];
        assert_eq!(found(&tree), ["a -> b (line 1) -> c (line 2) -> a (line 1)"]);
    }

    #[test]
    fn a_parent_and_its_child_that_import_each_other_are_a_circle() {
        let tree = [
            ("", "mod a;"),
            ("a", "mod inner; use inner::I; pub struct A;"),
            ("a::inner", "use super::A; pub struct I;"),
        ];
        assert_eq!(found(&tree), ["a -> a::inner (line 1) -> a (line 1)"]);
        let tree = [
            ("", "mod a;"),
            ("a", "mod inner; pub struct A;"),
            ("a::inner", "use super::A; use crate::a::inner as own;"),
        ];
        assert_eq!(found(&tree), [""; 0]);
    }

    #[test]
    fn folders_whose_modules_import_each_other_are_a_circle_even_where_no_module_is_in_one() {
        let tree = [
            ("", "mod a; mod b;"),
            ("a", "mod low; mod high;"),
            ("a::low", ""),
            ("a::high", "use crate::b::middle;"),
            ("b", "mod middle;"),
            ("b::middle", "use crate::a::low;"),
        ];
        assert_eq!(
            found(&tree),
            ["folders a -> b (a::high imports b::middle, line 1) -> a (b::middle imports a::low, line 1)"]
        );
    }

    #[test]
    fn what_only_looks_like_an_import_is_none() {
        let text = "use crate::b; fn f(a: &A) -> impl Fn() + use<'_> { let c = 1; move || drop(c) }";
        let shown = "pub(in crate::a) struct B; impl B { pub(in super::a) fn f() {} }";
        assert_eq!(found(&[("", "mod a; mod b;"), ("a", text), ("b", shown)]), [""; 0]);
    }

    #[test]
    fn what_is_for_tests_alone_does_not_count() {
        let tree = [
            ("", "mod a; mod b;"),
            ("a", "use crate::b;"),
            (
                "b",
                "#[cfg(test)] use crate::a; #[cfg(test)] mod tests { use super::*; use crate::a; } struct B { #[cfg(test)] a: crate::a::A, b: u8 } #[cfg(test)] impl B { fn f<A, B>() { crate::a::f() } }",
            ),
        ];
        assert_eq!(found(&tree), [""; 0]);
    }
}
